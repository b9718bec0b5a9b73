"""`nilometer run`: programs as they are, each in a process of its own, measured into a file."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nilometer.cli.run import BOOTSTRAP

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., subprocess.CompletedProcess[str]]

# Where it is seen only by the program, not by the command that comes before it in this process.
STARTED = "import os\nif 'NILOMETER_EXPORT' in os.environ: "
ADD = "import nilometer; nilometer.counter('ran').add()\n"
BROKEN = "raise ImportError('two\\nlines')\n"
# In the command itself the module is the one it stands in front of.
GENUINE = """
import sys
from importlib import import_module
here = os.path.dirname(__file__)
sys.path.remove(here)
del sys.modules[__name__]
import_module(__name__)
sys.path.insert(0, here)
"""
TELL = "import sys; print('nilometer' in sys.modules)\n"


@pytest.fixture
def sink(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def run(nilometer: Command, sink: Path, tmp_path: Path) -> Command:
    """``run("python", "app.py")`` under `nilometer run` in `tmp_path`, into `sink`."""

    def start(*program: str, flags: tuple[str, ...] = (), **env: Any) -> Any:
        given = ("--export", f"file://{sink}", "--interval", "100ms", *flags)
        return nilometer("run", *given, "--", *program, **{"cwd": tmp_path, **env})

    return start


def batches(sink: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sink.read_text().splitlines()] if sink.exists() else []


def counted(sink: Path, name: str = "ran") -> list[tuple[str, int]]:
    """Service and value of every reading of a counter."""
    return sorted(
        (batch["resource"].get("service", "unknown_service"), reading["value"])
        for batch in batches(sink)
        for reading in batch.get("readings", ())
        if reading["name"] == name
    )


def script(folder: Path, source: str, name: str = "app.py") -> str:
    (folder / name).write_text(source)
    return name


# --- What is started -------------------------------------------------------------------------


def test_a_script_a_module_and_a_command_are_measured(
    run: Command, sink: Path, tmp_path: Path, python: str
) -> None:
    script(tmp_path, ADD)
    (tmp_path / "package").mkdir()
    script(tmp_path / "package", ADD, "module.py")
    ways = [("app.py",), ("-m", "app"), ("-m", "package.module"), ("-c", ADD)]
    ran = [run(python, *way) for way in ways]

    assert [(one.returncode, one.stderr) for one in ran] == [(0, "")] * 4
    assert counted(sink) == [("app", 1), ("app", 1), ("module", 1), ("unknown_service", 1)]


def test_what_the_program_reads_writes_and_ends_with_is_its_own(
    run: Command, python: str
) -> None:
    echo = "import sys; sys.stdout.write(sys.stdin.read()); sys.stderr.write('e'); sys.exit(7)"
    ran = run(python, "-c", echo, stdin="as it is\n")

    assert (ran.returncode, ran.stdout, ran.stderr) == (7, "as it is\n", "e")


def test_who_says_nowhere_where_to_send_is_told_so_and_the_program_runs(
    nilometer: Command, python: str, tmp_path: Path
) -> None:
    ran = nilometer("run", "--", python, "-c", "print(1)", cwd=tmp_path)

    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (0, "1\n", 1)
    assert ran.stderr.startswith("nilometer: nothing is sent anywhere")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_ends_the_program_is_seen_by_whoever_started_it(
    run: Command, python: str, number: int
) -> None:
    die = "import os, signal, sys; one = int(sys.argv[1])\n"
    die += "if one != signal.SIGKILL: signal.signal(one, signal.SIG_DFL)\n"
    ran = run(python, "-c", f"{die}os.kill(os.getpid(), one)", str(int(number)))

    assert ran.returncode == -number


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_program_runs_also_where_nobody_hears_it(
    closed: str, python: str, tmp_path: Path, sink: Path
) -> None:
    words = f"-m nilometer run --export file://{sink} -- {python} -c"
    code = f"open('ran', 'w'); {ADD.strip()}"
    done = subprocess.run(
        ["sh", "-c", f'exec {python} {words} "{code}" {closed}'], cwd=tmp_path, timeout=60
    )

    assert (done.returncode, (tmp_path / "ran").exists()) == (0, True)
    assert [value for _, value in counted(sink)] == [1]


def test_files_in_export_urls_stay_the_same_when_the_program_changes_the_directory(
    nilometer: Command, python: str, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    move = f'cd sub && exec {python} -c "{ADD.strip()}"'

    ran = nilometer("run", "--export", "file:out.jsonl", "--", "sh", "-c", move, cwd=tmp_path)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert [value for _, value in counted(tmp_path / "out.jsonl")] == [1]


def test_the_program_takes_the_place_of_the_command(run: Command, python: str) -> None:
    """One process: a supervisor's signals reach the program itself."""
    ran = run(python, "-c", "import os; print(os.getppid())")

    assert int(ran.stdout) == os.getpid()


def test_signals_stand_as_a_shell_would_leave_them(run: Command) -> None:
    """Python ignores SIGPIPE and SIGXFSZ for itself; what it starts must not inherit that."""
    ran = run("sh", "-c", "grep SigIgn /proc/self/status")
    ignored = int(ran.stdout.split()[1], 16)

    assert ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)) == 0


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("no-such-program", 127, "no program 'no-such-program' on PATH"),
        ("./missing", 127, "./missing: no such file"),
        ("plain.py", 127, "write python plain.py"),
        ("./plain.py", 126, "may not be executed; write python ./plain.py"),
        ("./", 126, "is a directory"),
        ("./bare", 126, "Exec format error; it has no shebang"),
    ],
)
def test_what_cannot_be_started_is_told_as_by_a_shell(
    run: Command, tmp_path: Path, program: str, code: int, said: str
) -> None:
    script(tmp_path, ADD, "plain.py")
    script(tmp_path, ADD, "bare")
    (tmp_path / "bare").chmod(0o755)
    ran = run(program)

    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (code, "", 1)
    assert said in ran.stderr


@pytest.mark.parametrize("flag", ["-I", "-E", "-S"])
def test_a_python_that_forbids_it_runs_unmeasured_and_unharmed(
    run: Command, sink: Path, python: str, flag: str
) -> None:
    ran = run(python, flag, "-c", TELL)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "False\n", "")
    assert batches(sink) == []


# --- Settings --------------------------------------------------------------------------------


def test_a_flag_wins_over_a_variable_and_that_over_the_file(
    nilometer: Command, sink: Path, tmp_path: Path, python: str
) -> None:
    (tmp_path / "nilometer.toml").write_text(
        f'service = "file"\nregion = "file"\nzone = "file"\nexport = ["file://{sink}"]\n'
    )
    ran = nilometer(
        *("run", "--service", "flag", "--", python, "-c", ADD),
        cwd=tmp_path,
        NILOMETER_SERVICE="variable",
        NILOMETER_REGION="variable",
    )
    told = {
        (one["resource"]["service"], one["resource"]["region"], one["resource"]["zone"])
        for one in batches(sink)
    }

    assert (ran.returncode, ran.stderr, told) == (0, "", {("flag", "variable", "file")})


def test_an_empty_flag_says_no_more_than_an_empty_variable(
    run: Command, sink: Path, tmp_path: Path, python: str
) -> None:
    (tmp_path / "nilometer.toml").write_text('service = "file"\n')
    empty = ("--service", "", "--dimensions", "", "--config", "")
    ran = run(python, "-c", ADD, flags=empty, NILOMETER_SERVICE="")

    assert (ran.returncode, counted(sink)) == (0, [("file", 1)])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--level", "detial"), "--level: no level 'detial'; did you mean 'detail'?"),
        (
            ("--integrations", "wsgj"),
            "--integrations: no integration 'wsgj'; did you mean 'uwsgi'?",
        ),
        (("--export", "otpl://x"), "did you mean 'otlp'?"),
        (("--config", "missing.toml"), "--config: missing.toml: No such file"),
        (("--trace-key-file", "missing.key"), "--trace-key-file: missing.key: No such file"),
        (("--sevice", "x"), "no option '--sevice'; did you mean '--service'?"),
    ],
)
def test_broken_settings_are_refused_before_the_program_starts(
    nilometer: Command, tmp_path: Path, python: str, flags: tuple[str, ...], said: str
) -> None:
    ran = nilometer("run", *flags, "--", python, "-c", "print('started')", cwd=tmp_path)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr


def test_a_broken_file_is_refused_with_its_line(
    nilometer: Command, tmp_path: Path, python: str
) -> None:
    (tmp_path / "nilometer.toml").write_text('service = "x"\nintervall_s = 5\n')
    ran = nilometer("run", "--", python, "-c", "print('started')", cwd=tmp_path)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert (
        "nilometer.toml:2: no setting 'intervall_s'; did you mean 'interval_s'?" in ran.stderr
    )


def test_a_change_of_directory_changes_no_setting(
    nilometer: Command, sink: Path, tmp_path: Path, python: str
) -> None:
    (tmp_path / "nilometer.toml").write_text(
        f'service = "here"\ntrace_key_file = "key"\nexport = ["file://{sink}"]\n'
    )
    (tmp_path / "key").write_text("a key of sixteen or more characters\n")
    (tmp_path / "key").chmod(0o600)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "nilometer.toml").write_text("broken")
    program = f"import subprocess; subprocess.run([{python!r}, '-c', {ADD!r}], cwd='elsewhere')"
    ran = nilometer("run", "--", python, "-c", program, cwd=tmp_path)

    assert (ran.returncode, ran.stderr, counted(sink)) == (0, "", [("here", 1)])


def test_no_key_stands_on_a_command_line_or_in_a_childs_reach_by_name(
    nilometer: Command, tmp_path: Path, python: str
) -> None:
    ran = nilometer("run", "--trace-keys", "k" * 32, "--", python, "-c", "", cwd=tmp_path)

    assert ran.returncode == 2
    assert "no option '--trace-keys'; did you mean '--trace-key-file'?" in ran.stderr


# --- The bootstrap ---------------------------------------------------------------------------


def test_a_sitecustomize_of_the_programs_own_still_runs_once(
    run: Command, sink: Path, tmp_path: Path, python: str
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    script(own, STARTED + "print('own', __name__, flush=True)\n", "sitecustomize.py")
    script(tmp_path, "import sitecustomize; print(sitecustomize.__file__)\n" + ADD)
    ran = run(python, "app.py", PYTHONPATH=str(own))

    assert ran.stdout.splitlines() == [
        "own sitecustomize",
        str(own / "sitecustomize.py"),
    ]
    assert (ran.stderr, counted(sink)) == ("", [("app", 1)])


def test_what_stands_before_the_program_is_not_searched_for_its_garbage(
    run: Command, tmp_path: Path, python: str
) -> None:
    script(
        tmp_path,
        "import gc, types\n"
        "functions = [o for o in gc.get_objects() if isinstance(o, types.FunctionType)]\n"
        "print({(f.__module__ or '').partition('.')[0] for f in functions} & {'nilometer'})\n"
        "print(gc.isenabled())\n",
    )
    ran = run(python, "app.py")

    assert ran.stdout.split() == ["set()", "True"]


def test_a_sitecustomize_that_raises_is_told_by_python_and_the_rest_is_measured(
    run: Command, sink: Path, tmp_path: Path, python: str
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    script(own, STARTED + "raise RuntimeError('of its own')\n", "sitecustomize.py")
    ran = run(python, "-c", ADD, PYTHONPATH=str(own))

    assert ran.returncode == 0
    assert "RuntimeError: of its own" in ran.stderr
    assert counted(sink) == [("unknown_service", 1)]


def test_a_path_that_was_set_stays_in_its_order(
    run: Command, tmp_path: Path, python: str
) -> None:
    tell = "import os; print(os.environ['PYTHONPATH'])"
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    once = run(python, "-c", tell, PYTHONPATH=os.pathsep.join(paths))
    nested = run(
        *(python, "-m", "nilometer", "run", "--", python, "-c", tell),
        PYTHONPATH=os.pathsep.join([*paths, *sys.path[1:]]),
    )

    assert once.stdout.split(os.pathsep)[1:] == [*paths[:1], paths[1] + "\n"]
    assert nested.stdout.count(str(BOOTSTRAP)) == 1


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory, python: str) -> list[str]:
    """Interpreters without our package: a bare environment of ours, and any other Python."""
    bare = tmp_path_factory.mktemp("bare") / "env"
    subprocess.run([python, "-m", "venv", "--without-pip", bare], check=True)
    found = [str(bare / "bin" / "python")]
    ours = sys.version_info[:2]
    for minor in (11, 12, 13):
        if (3, minor) == ours:
            continue
        on_path = shutil.which(f"python3.{minor}")
        versions = Path.home() / ".pyenv" / "versions"
        managed = sorted(versions.glob(f"3.{minor}.*/bin/python3"))
        candidates = [*([on_path] if on_path else []), *map(str, managed)]
        found += [one for one in candidates if is_python(one, minor)][:1]
    return found


def is_python(path: str, minor: int) -> bool:
    """A shim on PATH may stand for nothing."""
    asked = subprocess.run(
        [path, "-c", "import sys; print(sys.version_info[1])"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() == str(minor)


def test_an_interpreter_without_us_gets_us_and_none_of_our_neighbours(
    run: Command, sink: Path, strangers: list[str]
) -> None:
    look = (
        "from importlib.util import find_spec as f\n"
        "print([f(n) is not None for n in ('nilometer', 'rich', 'click', 'pytest')])\n"
    )
    ran = [run(one, "-c", look + ADD) for one in strangers]
    # An interpreter of the machine may have any of them by itself; ours must not add one.
    own = [subprocess.check_output([one, "-c", look], text=True) for one in strangers]

    assert [(one.stdout, one.stderr) for one in ran] == [
        (before.replace("[False", "[True", 1), "") for before in own
    ]
    assert counted(sink) == [("unknown_service", 1)] * len(strangers)


def test_where_measuring_cannot_start_that_is_one_line_and_the_program_runs(
    run: Command, tmp_path: Path, python: str
) -> None:
    """Here: a module of the standard library is hidden by a broken one of the program's."""
    script(tmp_path, STARTED + BROKEN + GENUINE, "random.py")
    ran = run(python, "-c", "print('runs')", PYTHONPATH=str(tmp_path))

    assert (ran.returncode, ran.stdout) == (0, "runs\n")
    assert ran.stderr == "nilometer: this program runs unmeasured: two lines\n"


def test_a_program_that_closed_its_stderr_is_unharmed(
    run: Command, tmp_path: Path, python: str
) -> None:
    script(tmp_path, STARTED + BROKEN + GENUINE, "random.py")
    closed = f"{python} -c 'print(1)' 2>&-"
    ran = run("sh", "-c", closed, PYTHONPATH=str(tmp_path))

    assert (ran.returncode, ran.stdout) == (0, "1\n")


# --- Children --------------------------------------------------------------------------------

CHILDREN = """
import multiprocessing, sys

def work(number):
    import nilometer
    nilometer.counter("ran").add()
    nilometer.flush(5)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=work, args=(n,)) for n in range(2)]
    for child in children: child.start()
    for child in children: child.join()
    work(0)
    print([child.exitcode for child in children])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_are_measured_each_with_its_own(
    run: Command, sink: Path, tmp_path: Path, python: str, method: str
) -> None:
    ran = run(python, script(tmp_path, CHILDREN), method, flags=("--service", "family"))

    assert (ran.stdout, ran.stderr) == ("[0, 0]\n", "")
    assert counted(sink) == [("family", 1)] * 3
    assert len({one["resource"]["pid"] for one in batches(sink)}) >= 3


def test_a_program_that_is_no_python_and_one_below_it_inherit_it_harmlessly(
    run: Command, sink: Path, tmp_path: Path, python: str
) -> None:
    script(tmp_path, ADD, "below.py")
    ran = run("sh", "-c", f"{python} below.py; {python} -I -c 'print(2)'; exit 3")

    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "2\n", "")
    assert counted(sink) == [("below", 1)]


# --- Servers ---------------------------------------------------------------------------------

WSGI = """
import os
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
ASGI = """
import os
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
SERVERS = {
    "gunicorn": ("-m", "gunicorn", "app:app", "--workers", "2", "--bind", "127.0.0.1:{port}"),
    "gunicorn preload": (
        *("-m", "gunicorn", "app:app", "--workers", "2", "--preload"),
        *("--bind", "127.0.0.1:{port}"),
    ),
    "uvicorn": ("-m", "uvicorn", "app:app", "--port", "{port}"),
    "uvicorn workers": ("-m", "uvicorn", "app:app", "--workers", "2", "--port", "{port}"),
    "uwsgi": (
        *("--http", "127.0.0.1:{port}", "--wsgi-file", "app.py", "--callable", "app"),
        *("--master", "--processes", "2", "--enable-threads", "--die-on-term"),
    ),
    # Its workers end without Python's `atexit`.
    "uwsgi gevent": (
        *("--http-socket", "127.0.0.1:{port}", "--wsgi-file", "app.py", "--callable", "app"),
        *("--master", "--processes", "2", "--enable-threads", "--die-on-term"),
        *("--gevent", "20", "--gevent-monkey-patch"),
    ),
}
REQUESTS = 20


@pytest.mark.slow
@pytest.mark.parametrize("interval", ["100ms", "10m"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_and_its_workers_are_measured_exactly(
    server: str,
    interval: str,
    wait_until: Callable[..., None],
    start_process: Callable[..., Any],
    free_port: Callable[..., int],
    sink: Path,
    tmp_path: Path,
    python: str,
) -> None:
    port = free_port()
    script(tmp_path, ADD + (ASGI if "uvicorn" in server else WSGI))
    program = python
    if server.startswith("uwsgi"):
        program = str(Path(python).parent / "uwsgi")
    command = [word.format(port=port) for word in SERVERS[server]]
    # With an interval longer than the test, what arrives was sent at the end of each process.
    flags = ["--service", "web", "--export", f"file://{sink}", "--interval", interval]
    process = start_process(
        [python, "-m", "nilometer", "run", *flags, "--", program, *command],
        ready=lambda: said_by(port),
        cwd=tmp_path,
    )
    pids = {said_by(port) for _ in range(REQUESTS)}
    if interval == "100ms":  # the workers' own pumps run, each after its fork
        wait_until(lambda: responses(sink) == REQUESTS + 1, what="all are reported")
    process.end()
    told = {
        str(batch["resource"]["pid"])
        for batch in batches(sink)
        if "http.server.responses" in {one["name"] for one in batch.get("readings", ())}
    }
    loaded = sum(value for _, value in counted(sink))
    loads = 1 if server in ("uvicorn", "gunicorn preload", "uwsgi", "uwsgi gevent") else 2

    assert responses(sink) == REQUESTS + 1  # the one that found it up
    assert told >= pids
    assert loaded == loads  # once in the process that loaded it, not again in its children
    assert "nilometer:" not in process.output()


def responses(sink: Path) -> int:
    return sum(value for _, value in counted(sink, "http.server.responses"))


def said_by(port: int) -> str:
    """What the server at that port answers; nothing where nobody is yet."""
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    except OSError:
        return ""
    finally:
        connection.close()


def test_help_names_every_setting_with_its_variable(nilometer: Command) -> None:
    shown = nilometer("run", "--help", COLUMNS="100").stdout

    assert len(re.findall(r"\[NILOMETER_\w+\]", " ".join(shown.split()))) >= 18
