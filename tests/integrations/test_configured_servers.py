"""Settings that a server learns only as it loads the application, which reads them itself."""

import json
import sys
from pathlib import Path

import pytest
import requests

from nilometer.trace.trigger import new_trigger
from tests.integrations.served import HAS_UWSGI, IS_ASGI, SOURCE, command

KEY = "the key of [nilometer]"
OTHER = "the key of [profiler]"

SERVERS = ["gunicorn sync", "gunicorn gthread", "gunicorn asgi"]
if HAS_UWSGI:
    SERVERS += ["uwsgi module", "uwsgi file", "uwsgi factory"]

FOUR = {"gunicorn sync": ["--workers", "4"]}
if HAS_UWSGI:
    FOUR["uwsgi module"] = ["--master", "--processes", "4", "--enable-threads"]

CONF = f"""
[nilometer]
trace_keys = {KEY}
export = file://OUT
interval_s = 0.2
[profiler]
enabled = true
hmac_keys = {OTHER}
"""
READING = """
from oslo_config import cfg

conf = cfg.ConfigOpts()
conf(["--config-file", "service.conf"], default_config_files=[], default_config_dirs=[])
"""
CONFIGURING = f"""
import nilometer

nilometer.configure(export=["file://OUT"], interval_s=0.2, trace_keys=[{KEY!r}, {OTHER!r}])
"""
WSGI = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

def make():
    return application
"""
ASGI = """
async def application(scope, receive, send):
    if scope["type"] == "http":
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
"""


BUSY = (
    CONFIGURING
    + """
from time import monotonic, sleep

def busy():
    end = monotonic() + 0.5
    while monotonic() < end:
        pass
    return 7

nilometer.gauge("busy").read = busy
sleep(0.2)
"""
)


def started(name, module, folder, port, start_process, *options):
    """That server under `nilometer run`, which is told nothing; where what it measures goes."""
    out = folder / "out.jsonl"
    (folder / "service.conf").write_text(CONF.replace("OUT", str(out)))
    app = module.replace("OUT", str(out)) + (ASGI if name in IS_ASGI else WSGI)
    (folder / "site_app.py").write_text(app)
    process = start_process(
        [
            sys.executable,
            "-m",
            "nilometer",
            "run",
            "--",
            *command(name, port, folder),
            *options,
        ],
        ready=port,
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{SOURCE}", "NILOMETER_INTEGRATIONS": "auto"},
    )
    return process, out


def written(out: Path):
    """Spans, and what was counted of triggers, so far."""
    spans, triggers, names = [], {}, set()
    for line in out.read_text().splitlines() if out.exists() else ():
        batch = json.loads(line)
        spans += batch.get("spans", ())
        for reading in batch["readings"]:
            names.add(reading["name"])
            if reading["name"] == "nilometer.trigger":
                result = dict(reading["dimensions"])["result"]
                triggers[result] = triggers.get(result, 0) + reading["value"]
    return len(spans), triggers, names


@pytest.mark.real
@pytest.mark.parametrize("module", [READING, CONFIGURING], ids=["file", "configure"])
@pytest.mark.parametrize("name", SERVERS)
def test_what_an_application_reads_as_it_is_loaded_holds_for_its_requests(
    name, module, tmp_path, free_port, start_process, wait_until
):
    port = free_port()
    _, out = started(name, module, tmp_path, port, start_process)
    for key in (KEY, OTHER):
        url, headers = f"http://127.0.0.1:{port}/", new_trigger(key).headers
        assert requests.get(url, headers=headers, timeout=10).content == b"ok"

    def is_all_there():
        spans, triggers, names = written(out)
        return spans == 2 and triggers == {"accepted": 2} and "server.backlog.limit" in names

    wait_until(is_all_there, what="both requests and the socket are told")


@pytest.mark.real
@pytest.mark.parametrize("name", FOUR)
def test_no_worker_waits_for_a_lock_that_the_master_s_threads_held(
    name, tmp_path, free_port, start_process, wait_until
):
    """It forks while any thread may hold the interpreter's lock: ours do nothing else."""
    port = free_port()
    module = BUSY.replace("interval_s=0.2", "interval_s=0.05")
    _, out = started(name, module, tmp_path, port, start_process, *FOUR[name])

    def reporting():
        lines = out.read_text().splitlines() if out.exists() else ()
        batches = [json.loads(line) for line in lines]
        told = {batch["resource"]["pid"] for batch in batches if "busy" in str(batch)}
        return len(told)

    wait_until(lambda: reporting() >= 4, what="all four workers report")
