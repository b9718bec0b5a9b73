"""Whole processes: killed, forked, patched, ended in order; what they measured arrives."""

from __future__ import annotations

import signal
import subprocess
import textwrap
import threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

HEAD = """
import os, sys, time
import nilometer
url = sys.argv[1]
requests = nilometer.counter("api.requests")
"""


@pytest.fixture
def program_file(tmp_path):
    """Writes a program; its first argument will be the URL to export to."""

    def write(body: str, head: str = HEAD) -> Path:
        file = tmp_path / f"program{len(list(tmp_path.glob('program*')))}.py"
        file.write_text(head + textwrap.dedent(body))
        return file

    return write


@pytest.fixture
def run(program_file, receiver, python, start_process):
    """Run a program to its end; gives its output."""

    def run_it(body: str, *, head: str = HEAD, env=None) -> str:
        file = program_file(body, head)
        process = start_process([python, file, f"otlp://127.0.0.1:{receiver.port}"], env=env)
        code = process.popen.wait(60)
        assert code == 0, process.output()
        return process.output()

    return run_it


def test_a_process_that_ends_in_order_loses_nothing(run, receiver):
    run(
        """
        nilometer.configure(service="s", export=[url], interval_s=3600)
        requests.add(7)
        nilometer.event("last.words", n=1)
        """
    )

    assert (receiver.total("api.requests"), len(receiver.logs())) == (7, 1)


def test_a_process_that_an_exception_ends_loses_nothing(run, receiver):
    run(
        """
        nilometer.configure(service="s", export=[url], interval_s=3600)
        requests.add(7)
        sys.exit(0) if True else None
        """
    )

    assert receiver.total("api.requests") == 7


def test_the_end_of_a_process_waits_two_seconds_at_most_for_a_receiver_that_hangs(
    run, make, receiver
):
    receiver.hold = threading.Event()
    output = run(
        """
        nilometer.configure(service="s", export=[url], interval_s=3600)
        requests.add(7)
        """
    )

    assert (
        "of 3 the answer has not come yet, they may have arrived [rows-not-delivered]" in output
    )


def test_kill_9_loses_at_most_one_interval(
    program_file, receiver, python, start_process, wait_until
):
    """The process says what it has counted; all but the last interval's is there."""
    file = program_file(
        """
        nilometer.configure(service="s", export=[url], interval_s=0.2)
        n = 0
        while True:
            requests.add()
            n += 1
            os.pwrite(1, b"%12d" % n, 0)
            time.sleep(0.001)
        """
    )
    process = start_process([python, file, f"otlp://127.0.0.1:{receiver.port}"])
    wait_until(lambda: receiver.total("api.requests") > 100, what="some intervals have passed")
    before = receiver.total("api.requests")
    counted_before = int(process.output())
    wait_until(lambda: receiver.total("api.requests") > before, what="the next interval came")
    process.popen.send_signal(signal.SIGKILL)
    process.popen.wait()
    counted = int(process.output())
    arrived = receiver.total("api.requests")

    assert counted_before <= counted
    assert before < arrived <= counted
    # What was counted when the last but one interval had arrived is in the last one.
    assert arrived >= counted_before


def test_a_forked_child_sends_its_own_and_nothing_of_its_parent(run, receiver):
    run(
        """
        nilometer.configure(service="s", export=[url], interval_s=3600)
        requests.add(1000)
        pids = []
        for n in range(1, 4):
            pid = os.fork()
            if pid == 0:
                requests.add(n)
                sys.exit(0)
            pids.append(pid)
        for pid in pids:
            assert os.waitpid(pid, 0)[1] == 0
        requests.add(500)
        """
    )

    assert receiver.total("api.requests") == 1500 + 1 + 2 + 3
    assert len(receiver.pids()) == 4


def test_what_waits_in_the_parent_is_not_sent_by_the_child_too(run, receiver):
    receiver.answers.append((503, {}, b""))
    run(
        """
        nilometer.configure(service="s", export=[url], interval_s=3600)
        requests.add(1000)
        assert nilometer.flush(5) is False
        pid = os.fork()
        if pid == 0:
            requests.add(1)
            assert nilometer.flush(5)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert nilometer.flush(5)
        """
    )

    assert receiver.total("api.requests") == 1001


def test_a_forked_child_has_a_pump_that_turns_by_itself(run, receiver):
    run(
        """
        nilometer.configure(service="s", export=[url], interval_s=0.1)
        requests.add(1)
        nilometer.flush()
        pid = os.fork()
        if pid == 0:
            requests.add(10)
            time.sleep(1)
            os._exit(0)  # no atexit: what arrives, the pump has sent
        os.waitpid(pid, 0)
        """
    )

    assert receiver.total("api.requests") == 11


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_lose_nothing(run, receiver, method):
    run(
        f"""
        import multiprocessing
        def work(n):
            if multiprocessing.get_start_method() != "fork":
                nilometer.configure(service="s", export=[url], interval_s=3600)
            requests.add(n)
        if __name__ == "__main__":
            multiprocessing.set_start_method({method!r})
            nilometer.configure(service="s", export=[url], interval_s=3600)
            requests.add(1000)
            children = [multiprocessing.Process(target=work, args=(n,)) for n in (1, 2, 3)]
            for child in children:
                child.start()
            for child in children:
                child.join()
            assert [child.exitcode for child in children] == [0, 0, 0]
        """
    )

    assert receiver.total("api.requests") == 1006


def test_forking_while_threads_record_and_the_pump_runs_never_hangs(run, receiver):
    run(
        """
        import threading
        nilometer.configure(service="s", export=[url], interval_s=0.05)
        stop = threading.Event()
        def record():
            while not stop.is_set():
                requests.add()
        threads = [threading.Thread(target=record) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                requests.add()
                os._exit(0 if nilometer.flush(10) else 3)
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        """
    )

    assert len(receiver.pids()) == 21


def test_a_child_forked_in_the_middle_of_an_answer_does_not_wait_for_it(
    program_file, python, start_process
):
    """The parent's thread reads from a buffer whose lock nobody lets go of in the child."""
    import socket

    file = program_file(
        """
        nilometer.configure(service="s", export=[url], interval_s=0.05)
        requests.add(1)
        time.sleep(1)  # the pump's thread is in the answer by now
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        print("the child has ended")
        os._exit(0)
        """
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"otlp://127.0.0.1:{listening.getsockname()[1]}"
        process = start_process([python, file, url])
        connection, _ = listening.accept()
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        process.popen.wait(20)
        connection.close()

    assert "the child has ended" in process.output()


@pytest.mark.parametrize(
    "url",
    [
        "otlp://{}",
        "otlp://127.0.0.1:1",
        "statsd://127.0.0.1:1",
        "log://",
        "file://{tmp_path}/o",
    ],
)
def test_our_threads_import_nothing(run, receiver, tmp_path, url):
    """A thread that imports while another forks leaves the child a lock for ever held."""
    url = url.format(f"127.0.0.1:{receiver.port}", tmp_path=tmp_path)
    output = run(
        f"""
        import logging
        logging.basicConfig()
        requests.add()
        nilometer.configure(service="s", export=[{url!r}], interval_s=3600)
        before = set(sys.modules)
        requests.add()
        nilometer.event("happened", n=1)
        with nilometer.timer("work").lap():
            pass
        nilometer.flush(5)
        print("imported:", sorted(set(sys.modules) - before))
        """
    )

    assert "imported: []" in output


GREEN = {
    "eventlet": "import eventlet\neventlet.monkey_patch()\n",
    "gevent": "from gevent import monkey\nmonkey.patch_all()\n",
}


@pytest.mark.parametrize("library", GREEN)
def test_under_monkey_patching_the_pump_is_green_and_everything_arrives(run, receiver, library):
    output = run(
        """
        import logging, threading
        logging.basicConfig(level=logging.INFO)
        nilometer.configure(service="s", export=[url, "log://"], interval_s=0.1)
        requests.add(1)
        for _ in range(500):  # the service logs while the pump does: they share a green lock
            logging.info("a line of the service")
            time.sleep(0.001)
        requests.add(10)
        assert nilometer.flush(10)
        requests.add(100)
        """,
        head=GREEN[library] + HEAD,
    )

    assert receiver.total("api.requests") == 111, output
    assert "Traceback" not in output
    assert "counter api.requests" in output


@pytest.mark.parametrize("library", GREEN)
def test_a_program_that_patches_itself_under_run_shares_its_locks_and_hangs_nowhere(
    tmp_path, python, receiver, library
):
    """It patches itself in its first line, and our threads are older than that."""
    program = tmp_path / "shop.py"
    program.write_text(
        f"{GREEN[library]}\n"
        + textwrap.dedent(
            f"""
            import logging, threading, time, nilometer
            from {library} import sleep, spawn
            logging.basicConfig(level=logging.INFO)
            lock, served = threading.Lock(), []

            def depth():
                with lock:
                    time.sleep(0.002)
                    return len(served)

            def serve():
                for _ in range(100):
                    with lock:
                        served.append(1)
                    logging.info("one more")
                    sleep(0.01)

            nilometer.gauge("queue.depth", read=depth)
            until = time.monotonic() + 30
            for _ in range(20):
                spawn(serve)
            while len(served) < 2000 and time.monotonic() < until:
                sleep(0.01)
            print("served", len(served), flush=True)
            """
        )
    )
    exports = ["--export", f"otlp://127.0.0.1:{receiver.port}", "--export", "log://"]
    command = [python, "-m", "nilometer", "run", "--interval", "0.05", *exports, "--"]

    ended = subprocess.run(
        [*command, python, "-W", "ignore", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert ended.stdout == "served 2000\n", ended.stderr[-3000:]
    assert "queue.depth" in ended.stderr
    for trouble in ("greenlet.error", "were not greened", "Traceback"):
        assert trouble not in ended.stderr


@pytest.mark.parametrize("function", ["flush", "shutdown"])
@pytest.mark.parametrize("library", GREEN)
def test_a_signal_handler_of_a_service_that_rests_in_its_hub_flushes_at_the_end(
    run, receiver, library, function
):
    output = run(
        f"""
        import os, signal, threading
        from {library} import sleep
        nilometer.configure(service="s", export=[url], interval_s=60)
        nilometer.gauge("queue.depth", read=lambda: 1)
        stopped = []

        def stop(*_):
            print("taken", nilometer.{function}(1.0), flush=True)
            requests.add(10)
            stopped.append(True)

        signal.signal(signal.SIGTERM, stop)
        requests.add(1)
        pid = os.getpid()
        os.system(f"(sleep 0.5; kill -TERM {{pid}}) &")
        while not stopped:
            sleep(0.2)
        print("ended in order", flush=True)
        """,
        head=GREEN[library] + HEAD,
    )

    assert output.splitlines()[-2:] == ["taken False", "ended in order"]
    assert receiver.total("api.requests") == 11


@pytest.mark.parametrize("library", GREEN)
def test_a_child_forked_under_monkey_patching_sends_its_own(run, receiver, library):
    output = run(
        """
        nilometer.configure(service="s", export=[url], interval_s=0.1)
        requests.add(1)
        assert nilometer.flush(10)
        pid = os.fork()
        if pid == 0:
            requests.add(10)
            time.sleep(1)  # green: the child's pump turns meanwhile
            os._exit(0)
        os.waitpid(pid, 0)
        """,
        head=GREEN[library] + HEAD,
    )

    assert receiver.total("api.requests") == 11, output
    assert "Traceback" not in output


def test_a_child_that_makes_its_own_eventlet_hub_sends_by_itself(run, receiver):
    """As a worker of oslo.service does; some of the parent's turns may come first."""
    output = run(
        """
        from nilometer.assembly import current
        nilometer.configure(service="s", export=[url], interval_s=0.1)
        requests.add(1)
        assert nilometer.flush(10)
        for turns in (0, 3):
            pid = os.fork()
            if pid == 0:
                for _ in range(turns):
                    eventlet.sleep(0.01)
                eventlet.hubs.use_hub()
                requests.add(10)
                outlet, give_up = current().pump.outlets[0], time.monotonic() + 20
                offered = outlet.offered
                while time.monotonic() < give_up:
                    eventlet.sleep(0.01)
                    if outlet.offered > offered and outlet.has_settled(outlet.offered):
                        break
                os._exit(0)
            os.waitpid(pid, 0)
        """,
        head=GREEN["eventlet"] + HEAD,
    )

    assert receiver.total("api.requests") == 21, output
    assert "Traceback" not in output


@pytest.mark.parametrize("library", GREEN)
def test_a_pump_from_before_patching_never_stops_the_hub(run, receiver, library):
    """As in a gunicorn worker under `nilometer run`, which patches itself after it began."""
    output = run(
        f"""
        import faulthandler
        faulthandler.dump_traceback_later(20, exit=True)  # the hub may stand still
        nilometer.configure(service="s", export=[url], interval_s=0.05)
        exec({GREEN[library]!r})
        from {library} import sleep, spawn
        nilometer.gauge("q", read=lambda: sleep(0.02) or 3)  # asks a neighbour, say
        def flush():
            for _ in range(5):
                requests.add()
                assert nilometer.flush(20)
        for flushing in [spawn(flush) for _ in range(4)]:
            (flushing.get if hasattr(flushing, "get") else flushing.wait)()
        """
    )

    assert receiver.total("api.requests") == 20, output
    assert "q" in {metric.name for _, metric in receiver.metrics()}, output


@pytest.mark.parametrize("library", GREEN)
def test_what_a_thread_from_before_patching_connected_loses_nothing_at_the_end(
    tmp_path, python, receiver, library
):
    """As in a gunicorn worker under `nilometer run` that ends after its first interval."""
    receiver.answers_after_s = 0.2  # so that somebody has to wait, in a hub
    program = tmp_path / "shop.py"
    program.write_text(
        f"{GREEN[library]}\nfrom {library} import sleep\nimport nilometer, time\n"
        "requests = nilometer.counter('api.requests')\n"
        "requests.add()\n"
        "began = time.monotonic()\n"
        "while time.monotonic() < began + 3:\n"
        "    sleep(0.05)\n"
        "requests.add()\n"
    )
    to = f"otlp://127.0.0.1:{receiver.port}"
    command = [python, "-m", "nilometer", "run", "--interval", "1", "--export", to, "--"]

    ended = subprocess.run(
        [*command, python, program], capture_output=True, text=True, timeout=60, check=True
    )

    assert receiver.total("api.requests") == 2, ended.stderr
    assert "is failing" not in ended.stderr


APPLICATION = """
import os
import nilometer
nilometer.configure(service="s", export=[os.environ["SEND_TO"]], interval_s=3600)
requests = nilometer.counter("api.requests")
def app(environ, start_response):
    requests.add()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--preload"],
        ["-k", "gthread"],
        ["-k", "gevent"],
        ["-k", "gevent", "--preload"],
    ],
)
def test_gunicorn_workers_send_all_they_counted(
    tmp_path, receiver, python, start_process, free_port, options
):
    from http.client import HTTPConnection

    (tmp_path / "shop.py").write_text(APPLICATION)
    port = free_port()
    command = [
        python,
        "-m",
        "gunicorn",
        "-w",
        "2",
        "-b",
        f"127.0.0.1:{port}",
        *options,
        "shop:app",
    ]
    server = start_process(
        command,
        ready=port,
        cwd=tmp_path,
        env={"SEND_TO": f"otlp://127.0.0.1:{receiver.port}"},
    )
    pids = set()
    for _ in range(60):
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/")
        pids.add(int(connection.getresponse().read()))
        connection.close()
    server.end()

    assert receiver.total("api.requests") == 60, server.output()
    assert pids <= receiver.pids()


def test_what_the_application_s_own_uwsgi_hooks_raise_keeps_ours_from_nothing(run):
    output = run(
        """
        for hook in (uwsgi.post_fork_hook, uwsgi.atexit):
            try:
                hook()
            except OSError:
                print("raised as before")
        print("again:", uwsgi.post_fork_hook is threads_hook)
        """,
        head=textwrap.dedent(
            """
            import sys, types
            uwsgi = types.ModuleType("uwsgi")
            def fails():
                raise OSError
            uwsgi.post_fork_hook = uwsgi.atexit = fails
            sys.modules["uwsgi"] = uwsgi
            from nilometer.export.threads import call_after_uwsgi_forks
            def told(what):
                return lambda: print("ours:", what)
            call_after_uwsgi_forks(told("fork"), told("end"))
            threads_hook = uwsgi.post_fork_hook
            call_after_uwsgi_forks(told("fork"), told("end"))
            """
        ),
    )

    assert output.splitlines() == [
        *("ours: fork", "raised as before", "ours: end", "raised as before", "again: True")
    ]


def test_uwsgi_without_threads_is_told_once(run):
    """uWSGI's own module, as far as it matters here: its options and its fork hook."""
    output = run(
        """
        assert uwsgi.post_fork_hook.__module__ == "nilometer.export.threads"
        """,
        head=textwrap.dedent(
            """
            import sys, types
            uwsgi = types.ModuleType("uwsgi")
            uwsgi.opt = {"http": b":8000", "processes": b"2"}
            sys.modules["uwsgi"] = uwsgi
            import logging, nilometer
            logging.basicConfig()
            nilometer.configure(service="s", export=[sys.argv[1]], interval_s=3600)
            """
        ),
    )

    assert output.count("uWSGI runs without enable-threads") == 1


def test_importing_and_configuring_without_exporters_starts_no_thread(run):
    run(
        """
        import threading
        nilometer.configure(service="s")
        requests.add()
        assert threading.enumerate() == [threading.main_thread()]
        assert nilometer.flush() is False
        """
    )


RECORD = """
import ctypes, os, platform, struct, sys, time
import nilometer
from nilometer.model import Level
from nilometer.trace.twin import start_root
from nilometer.trace.trigger import Triggers, new_trigger

KEY = "a key of at least sixteen bytes"
url = sys.argv[1]
requests = nilometer.counter("api.requests")
by_tenant = nilometer.counter("api.tenants").bind(tenant="a")
left = nilometer.gauge("api.left")
off = nilometer.counter("api.deep", level=Level.DEEP)
work = nilometer.timer("api.work")
triggers = Triggers([KEY])

@work
def timed():
    requests.add()

@nilometer.traced
def traced():
    timed()

def record(times):
    for n in range(times):
        with work.lap():
            traced()
        by_tenant.add(n)
        left.set(n)
        left.add(-1)
        off.add()
        work.record(n)
        if n % 100 == 0:
            nilometer.event("api.happened", n=n)
    headers = new_trigger(KEY).headers
    with start_root("request", request=triggers.accept(headers.get)):
        for n in range(20):
            traced()
            with nilometer.span("inner", n=n) as span:
                span.add_event("happened", n=n)
        nilometer.headers()

nilometer.configure(service="s", export=[url], interval_s=3600)
requests.add()
assert nilometer.flush(1) is False  # from here on its thread waits for the receiver
record(1000)  # first calls import and allocate
"""

# What allocating memory, switching threads and ending takes, by machine.
CALLS = """
ARCHITECTURE, ALLOWED = {
    "x86_64": (
        0xC000003E,
        # mmap mprotect munmap brk rt_sigreturn mremap madvise futex clock_gettime,
        # exit_group, getrandom
        (9, 10, 11, 12, 15, 25, 28, 202, 228, 231, 318),
    ),
    "aarch64": (0xC00000B7, (222, 226, 215, 214, 139, 216, 233, 98, 113, 94, 278)),
}[platform.machine()]

def allow_nothing_else():
    \"\"\"Have the kernel end this process at any other call of this thread.\"\"\"
    load, equal, answer, kill, go_on = 0x20, 0x15, 0x06, 0x80000000, 0x7FFF0000
    rules = [(load, 0, 0, 4), (equal, 1, 0, ARCHITECTURE), (answer, 0, 0, kill)]
    rules.append((load, 0, 0, 0))
    for call in ALLOWED:
        rules += [(equal, 0, 1, call), (answer, 0, 0, go_on)]
    rules.append((answer, 0, 0, kill))
    filled = b"".join(struct.pack("HBBI", *one) for one in rules)
    program = ctypes.create_string_buffer(filled)
    header = struct.pack("HP", len(rules), ctypes.addressof(program))
    header = ctypes.create_string_buffer(header)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    long = ctypes.c_ulong
    prctl.argtypes = [ctypes.c_int, long, ctypes.c_void_p, long, long]
    assert prctl(38, 1, None, 0, 0) == 0, "no new privileges"
    assert prctl(22, 2, ctypes.addressof(header), 0, 0) == 0, os.strerror(ctypes.get_errno())
"""


@pytest.mark.parametrize("pure", ["", "1"], ids=["c", "python"])
def test_recording_asks_the_kernel_for_nothing_but_memory_while_the_receiver_hangs(
    run, receiver, pure
):
    """The kernel itself holds it: a socket, a file or a sleep would end the process."""
    receiver.hold = threading.Event()
    run(
        """
        allow_nothing_else()
        record(20_000)
        os._exit(0)
        """,
        head=RECORD + CALLS,
        env={"NILOMETER_PURE_PYTHON": pure} if pure else None,
    )

    assert receiver.entered.is_set()


def test_recording_never_waits_while_the_receiver_hangs(run, receiver):
    """The kernel counts how often a thread gave the processor away because it had to wait.

    Once may be the machine's doing, a page that had to be read; ours would be in every round.
    """
    receiver.hold = threading.Event()
    run(
        """
        def waits():
            with open("/proc/thread-self/status") as status:
                return int(status.read().partition("\\nvoluntary_ctxt_switches:")[2].split()[0])

        rounds = []
        for _ in range(5):
            before = waits()
            record(10_000)
            rounds.append(waits() - before)
        assert min(rounds) == 0, rounds
        before = waits()
        time.sleep(0.001)
        assert waits() > before  # it does count
        os._exit(0)
        """,
        head=RECORD,
    )

    assert receiver.entered.is_set()


def test_what_the_kernel_would_not_allow_ends_the_process(
    program_file, receiver, python, start_process
):
    file = program_file("allow_nothing_else()\nopen(os.devnull)\nos._exit(0)", RECORD + CALLS)
    receiver.hold = threading.Event()
    process = start_process([python, file, f"otlp://127.0.0.1:{receiver.port}"])

    assert process.popen.wait(60) == -signal.SIGSYS, process.output()


def test_a_process_ends_when_its_service_does(program_file, receiver, python, start_process):
    """Our threads are daemons: they keep nobody alive."""
    file = program_file("nilometer.configure(service='s', export=[url], interval_s=3600)")
    process = start_process([python, file, f"otlp://127.0.0.1:{receiver.port}"])

    process.popen.wait(30)

    assert process.popen.returncode == 0


@pytest.mark.parametrize(
    "reads", ["hang.wait()", "nilometer.flush(60)", "os.kill(os.getpid(), signal.SIGTERM) or 1"]
)
def test_whatever_a_gauge_does_the_process_ends_and_the_rest_arrives(run, receiver, reads):
    run(
        f"""
        import signal, threading
        hang = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: nilometer.flush(60))
        nilometer.configure(service="s", export=[url], interval_s=3600)
        nilometer.gauge("q", read=lambda: {reads})
        requests.add(7)
        """
    )

    assert receiver.total("api.requests") == 7
