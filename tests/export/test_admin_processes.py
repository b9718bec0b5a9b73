"""The admin endpoint in whole processes: exact, forked, green, and at their ends."""

from __future__ import annotations

import json
import socket
import subprocess
import textwrap

import pytest

pytestmark = pytest.mark.real

HEAD = """
import json, os, sys, time, threading
import nilometer
from urllib.request import Request, urlopen
url, first = sys.argv[1], int(sys.argv[2])
requests = nilometer.counter("api.requests")
boots = nilometer.timer("boot")

def configure(**more):
    admin = f"127.0.0.1:{first}-{first + 20}"
    nilometer.configure(service="s", admin=admin, **{"export": [url], **more})

def tell(what):
    print("told", json.dumps(what))

def port():
    from nilometer import assembly
    return assembly.current().desk.admin.port

def get(path, at=None):
    with urlopen(f"http://127.0.0.1:{at or port()}{path}", timeout=20) as answer:
        return answer.read().decode()

def counted(at=None):
    told = json.loads(get("/metrics", at))
    timer = told["timers"].get("boot", {"count": 0, "max": 0})
    return told["meters"].get("api.requests", {"count": 0})["count"], timer["count"]
"""
GREEN = {
    "native": "",
    "eventlet": "import eventlet\neventlet.monkey_patch()\n",
    "gevent": "from gevent import monkey\nmonkey.patch_all()\n",
}
LATE = {  # patched once our threads run, as under `nilometer run`
    "eventlet": "import eventlet\nconfigure()\neventlet.monkey_patch()\n",
    "gevent": "from gevent import monkey\nconfigure()\nmonkey.patch_all()\n",
}


@pytest.fixture
def run(tmp_path, receiver, python, start_process):
    """Run a program to its end; what it told."""

    def run_it(body: str, head: str = HEAD):
        file = tmp_path / "program.py"
        file.write_text(head + textwrap.dedent(body))
        with socket.create_server(("127.0.0.1", 0)) as sock:
            first = sock.getsockname()[1]
        process = start_process([python, file, f"otlp://127.0.0.1:{receiver.port}", str(first)])
        code = process.popen.wait(60)
        assert code == 0, process.output()

        told = [line for line in process.output().splitlines() if line.startswith("told ")]
        return json.loads(told[0].removeprefix("told "))

    return run_it


def test_what_is_told_is_exact_at_the_moment_beside_threads_that_count_and_others_that_ask(
    run, receiver
):
    before, moments, after = run(
        """
        configure(interval_s=0.1)
        requests.add(3)
        before = counted()
        moments, ended = [], threading.Event()

        def ask():
            while not ended.is_set():
                moments.append(counted())

        def work():
            for _ in range(20_000):
                boots.record(1000)
                requests.add()

        askers = [threading.Thread(target=ask) for _ in range(3)]
        workers = [threading.Thread(target=work) for _ in range(3)]
        for thread in askers + workers:
            thread.start()
        for thread in workers:
            thread.join()
        ended.set()
        for thread in askers:
            thread.join()
        tell([before, sorted(map(list, moments)), counted()])
        """
    )

    assert (before, after) == ([3, 0], [60_003, 60_000])
    assert all(count - 3 <= timed <= count for count, timed in moments)
    assert receiver.total("api.requests") == 60_003


@pytest.mark.parametrize("kind", GREEN)
def test_each_process_of_a_forked_service_answers_for_itself_at_a_port_of_its_own(
    run, receiver, kind
):
    parent, child, after = run(
        """
        configure(interval_s=3600)
        requests.add(5)
        counted()
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            requests.add(7)
            os.write(write, json.dumps([port(), counted(), counted(first)]).encode())
            nilometer.flush()
            os._exit(0)
        os.set_blocking(read, False)  # greenlets have their turns meanwhile
        while True:
            try:
                child = json.loads(os.read(read, 1000))
                break
            except BlockingIOError:
                time.sleep(0.01)
        os.waitpid(pid, 0)
        requests.add(1)
        try:
            get("/ping", child[0])
        except OSError as error:
            after = type(error.reason).__name__
        tell([[port(), counted()], child, after])
        """,
        GREEN[kind] + HEAD,
    )

    assert parent[1][0] == 6
    assert child == [child[0], [7, 0], [5, 0]]  # it, and its parent meanwhile
    assert child[0] != parent[0]
    assert after == "ConnectionRefusedError"
    assert receiver.total("api.requests") == 13


def test_workers_of_oslo_service_answer_and_send_by_themselves(run, receiver):
    told = run(
        """
        import select, signal
        from nilometer import assembly
        from oslo_config import cfg
        from oslo_service import backend
        backend.init_backend(backend.BackendType.EVENTLET)
        from oslo_service import service
        configure(interval_s=0.1)

        class Worker(service.ServiceBase):
            def start(self):
                eventlet.spawn(self.work)
            def work(self):
                requests.add(7)
                told = json.dumps(counted()).encode()
                outlet = assembly.current().pump.outlets[0]
                offered = outlet.offered
                while outlet.offered == offered or not outlet.has_settled(outlet.offered):
                    eventlet.sleep(0.01)
                os.write(write, told)
            stop = wait = reset = lambda _self: None

        read, write = os.pipe()
        launcher = os.fork()
        if not launcher:
            os.setsid()
            service.launch(cfg.CONF, Worker(), workers=2).wait()
        told = b""
        while told.count(b"]") < 2 and select.select([read], [], [], 20)[0]:
            told += os.read(read, 1000)
        os.killpg(launcher, signal.SIGKILL)
        tell(told.decode())
        """,
        GREEN["eventlet"] + HEAD,
    )

    assert told == "[7, 0][7, 0]"
    assert receiver.total("api.requests") == 14


def test_a_worker_with_an_eventlet_hub_of_its_own_answers_at_the_port_it_took(run):
    """As one of oslo.service has."""
    before, told = run(
        """
        configure(export=[])
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            before = port()
            eventlet.hubs.use_hub()
            requests.add(7)
            os.write(write, json.dumps([before, [port(), counted(), get("/ping")]]).encode())
            os._exit(0)
        tell(json.loads(os.read(read, 1000)))
        os.waitpid(pid, 0)
        """,
        GREEN["eventlet"] + HEAD,
    )

    assert told == [before, [7, 0], "pong\n"]


@pytest.mark.parametrize("kind", LATE)
def test_where_threads_turn_green_the_endpoint_does_too_and_the_hub_is_not_held(run, kind):
    told, native, turns = run(
        """
        requests.add(2)
        for _ in range(100):
            try:
                told = counted()
                break
            except OSError:
                time.sleep(0.05)
        turns = 0
        import socket as s
        silent = s.create_connection(("127.0.0.1", port()))
        began = time.monotonic()
        while time.monotonic() - began < 0.5:
            time.sleep(0.01)
            turns += 1
        native = len(os.listdir("/proc/self/task"))
        tell([told, native, turns])
        """,
        HEAD + LATE[kind],
    )

    assert told == [2, 0]
    assert turns > 10  # beside a client that says nothing
    assert native < 5  # ours are green: gevent's pool for names has one or two


def test_a_process_without_exporters_tells_what_it_counts_too(run):
    told, health = run(
        """
        configure(export=[])
        requests.add(2)
        boots.record(5)
        tell([counted(), json.loads(get("/healthcheck"))])
        """
    )

    assert told == [2, 1]
    assert health == {"losses": {"healthy": True}, "pump": {"healthy": True}}


def test_an_exporter_that_fails_makes_the_health_check_fail_with_the_reason(run):
    health = run(
        """
        configure(export=["otlp://127.0.0.1:9"])
        requests.add(2)
        nilometer.flush(5)
        from urllib.error import HTTPError
        try:
            get("/healthcheck")
        except HTTPError as error:
            told = json.loads(error.read())
            told["status"] = error.code
        tell(told)
        """
    )

    exporter = health["otlp://127.0.0.1:9"]
    assert (health["status"], health["pump"], exporter["healthy"]) == (
        *(500, {"healthy": True}),
        False,
    )
    assert "refused" in exporter["message"]


def test_a_level_that_is_put_holds_and_curl_is_a_client(run, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-the-tests\n")
    tokens.chmod(0o600)
    status, told, wrong, deep = run(
        f"""
        import subprocess
        configure(admin_token_file={str(tokens)!r})
        deep = nilometer.counter("db.rows", level="deep")
        at = f"http://127.0.0.1:{{port()}}"
        bearer = ["-H", "X-Auth-Token: a-token-of-the-tests"]
        def curl(*words):
            return subprocess.run(["curl", "-s", *words], capture_output=True, text=True).stdout
        status = curl("-o", "/dev/null", "-w", "%{{http_code}}", f"{{at}}/metrics?pretty=true")
        told = json.loads(curl(*bearer, "-X", "PUT", "--data", "deep", f"{{at}}/levels/db"))
        wrong = curl(*bearer, "-X", "PUT", "--data", "deap", f"{{at}}/levels/db")
        tell([status, told, wrong, deep.on])
        """
    )

    assert wrong.startswith("the body: no level 'deap'; did you mean 'deep'?")
    assert (status, told, deep) == (
        "401",
        {"": "basic", "db": "deep", "nilometer": "basic"},
        True,
    )


def test_jq_reads_what_is_told(run):
    told = run(
        """
        import subprocess
        configure()
        requests.add(4)
        query = '.meters["api.requests"].count'
        shell = f"curl -s 'http://127.0.0.1:{port()}/metrics?pretty=true' | jq '{query}'"
        read = subprocess.run(shell, shell=True, capture_output=True, text=True).stdout
        tell(int(read))
        """
    )

    assert told == 4


def test_it_costs_nothing_where_it_is_not_asked_for(python):
    program = """
import sys, nilometer
nilometer.configure(export=["file:/dev/null"])
print([m for m in sys.modules if m in ("nilometer.admin", "nilometer.wire.dropwizard")])
"""
    told = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)

    assert told.stdout == "[]\n"
