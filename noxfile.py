"""What ``make test`` and ``make test-rest`` run, one session each; ``nox -l`` lists them.

The 3.11 sessions run in the environment that nox itself runs in (`scripts/setup` made it), the
other Pythons in environments of their own under .nox, kept from one run to the next.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nox

ROOT = Path(__file__).parent
REPORTS = ROOT / "build" / "reports"
SANITIZED = ROOT / "build" / "sanitize"

STARTED = time.monotonic()

# The suites that run code which has a C twin.
TWINS = ["tests/measure", "tests/trace", "tests/wire", "tests/integrations"]
TWINS.append("tests/store/test_jsontexts.py")
GREENLETS = [f"tests/integrations/test_sqlalchemy{part}.py" for part in ("", "_orm", "_pools")]
GREENLETS.append("tests/integrations/test_statement_parameters.py")

# On the newer Pythons most tests that start real servers or take long are left out: protocols
# do not depend on the Python version, and they are most of the time of the suite. The C core
# and everything that imports it does depend on it, and so do threads, forks and ends of
# processes. uWSGI is not installed there: it is compiled, and one Python is enough.
QUICK = "not real and not slow"
# What is said of the repository itself, or takes long and runs no code of ours that depends on
# the interpreter, is said once.
ONCE = [
    *("tests/house", "tests/bench", "tests/store/test_maintenance.py"),
    *("tests/cli/test_measure.py", "tests/cli/test_against_installed.py"),
]
LONG = [
    *("tests/export/test_processes.py", "tests/cli/test_run.py"),
    "tests/measure/test_leaks.py",
]

# Nobody waits long for the first before a push; the second is everything else.
TEST, REST = ["test"], ["rest"]


def works(python: Path, version: str) -> bool:
    """A shim may stand for an interpreter that is not there: only one that runs counts."""
    code = "import sys; print(*sys.version_info[:2], sep='.')"
    try:
        said = subprocess.check_output([python, "-c", code], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return False
    return said.decode().strip() == version


def interpreter(version: str) -> Path | None:
    """The interpreter of that version on PATH, else among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    folders += sorted(pyenv.glob(f"{version}.*/bin"), reverse=True)
    candidates = (folder / f"python{version}" for folder in folders)
    return next((p for p in candidates if p.exists() and works(p, version)), None)


NEWER = ("3.12", "3.13")
FOUND = {version: path for version in NEWER if (path := interpreter(version))}

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True


# Test files are shared out among the processors. Those with real servers, which wait more than
# they work, are shared out in two, however many processors there are: servers take memory.
SHARED = ("-n", "logical", "--dist", "loadfile")
IN_TWO = ("-n", "2", "--dist", "loadfile")

# Four times what the longest session takes on two idle processors. A session that is stuck
# fails, and the others still run; ABRT lets pytest say where it was.
SESSION_S_MAX = 2400
LIMIT = ("timeout", "--foreground", "--signal=ABRT", "--kill-after=30", str(SESSION_S_MAX))


def pytest(
    session: nox.Session, *args: str, python: str = sys.executable, part: str = "", **env: str
) -> None:
    """Run pytest, its results also to build/reports, where scripts/test sums them up.

    Settings of whoever runs this must not decide what is tested.
    """
    REPORTS.mkdir(parents=True, exist_ok=True)
    session.log("%d s since the start", time.monotonic() - STARTED)
    unset = {name: None for name in os.environ if name.startswith("NILOMETER_")}
    report = f"--junitxml={REPORTS / (session.name + part)}.xml"
    words = [*LIMIT, python, "-m", "pytest", "-q", "--durations=5", "--durations-min=5", report]
    session.run(*words, *args, *session.posargs, env={**unset, **env}, external=True)


@nox.session(python=False, tags=TEST)
def lint(session: nox.Session) -> None:
    """Rules, format, types."""
    session.run(sys.executable, "-m", "ruff", "check", ".", external=True)
    session.run(sys.executable, "-m", "ruff", "format", "--check", ".", external=True)
    session.run(sys.executable, "-m", "mypy", external=True)


@nox.session(python=False, name="python-3.11", tags=TEST)
def suite(session: nox.Session) -> None:
    """Every test on Python 3.11, with the C core, but those of the two sessions that follow."""
    pytest(session, *SHARED, "-m", QUICK, NILOMETER_REQUIRE_C="1")


@nox.session(python=False, tags=TEST)
def real(session: nox.Session) -> None:
    """Real servers, real clients, the main job."""
    pytest(session, *IN_TWO, "-m", "real and not slow", NILOMETER_REQUIRE_C="1")


@nox.session(python=False, tags=REST)
def slow(session: nox.Session) -> None:
    """What takes more than five seconds, with real servers and without."""
    pytest(session, *IN_TWO, "-m", "slow", NILOMETER_REQUIRE_C="1")


@nox.session(python=False, tags=REST)
def pure(session: nox.Session) -> None:
    """The C core is built and switched off: what runs without it."""
    others = ["tests/export", "tests/test_assembly.py", "tests/test_config.py"]
    tests = [*TWINS, *others, "tests/test_doctor.py"]
    pytest(session, *SHARED, "-m", "not real", *tests, NILOMETER_PURE_PYTHON="1")


def newer(session: nox.Session) -> None:
    """The suite on a newer Python, with the C core, without real servers and slow tests."""
    install_once(session)
    python = str(Path(session.bin) / "python")
    build = [python, "setup.py", "-q", "build_ext", "--inplace"]
    session.run(*build, env={"NILOMETER_REQUIRE_C": "1"})
    ignored = [f"--ignore={path}" for path in ONCE]
    words = [*SHARED, "--hypothesis-profile=again", "-m", QUICK, *ignored]
    pytest(session, *words, python=python, NILOMETER_REQUIRE_C="1")
    chosen = ["-m", "real or slow", "-k", "not uwsgi", *LONG]
    pytest(session, *chosen, part="-long", python=python, NILOMETER_REQUIRE_C="1")


for version, path in FOUND.items():
    nox.session(python=str(path), name=f"python-{version}", tags=REST)(newer)


def install_once(session: nox.Session) -> None:
    """Install [test] unless the files that say what it is are those of the last time."""
    stamp = Path(session.virtualenv.location) / ".installed"
    wanted = hashlib.sha256(
        b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "setup.py"))
    ).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    session.log("installing Nilometer and [test]; some minutes the first time")
    session.install("-q", "-e", ".[test]", "setuptools>=77")
    stamp.write_text(wanted)


@nox.session(python=False, tags=REST)
def sanitize(session: nox.Session) -> None:
    """The C core under AddressSanitizer and UBSan, with the suites that run it."""
    build_sanitized(session)
    # libasan must come first, and finds C++'s throw, which libraries loaded later need, only
    # if libstdc++ is there from the start.
    preload = " ".join(gcc_file(name) for name in ("libasan.so", "libstdc++.so"))
    # greenlet switches stacks by copying them, red zones and all; where our frames lie on such
    # a stack, memcpy cannot be watched. Everything else is, there too.
    ignored = [f"--ignore={name}" for name in GREENLETS]
    runs = (("", [*TWINS, *ignored], ""), ("-greenlets", GREENLETS, ":replace_intrin=0"))
    for part, tests, option in runs:
        pytest(
            session,
            *(*SHARED, "-m", QUICK, *tests),
            part=part,
            NILOMETER_REQUIRE_C="1",
            PYTHONPATH=str(SANITIZED),
            PYTHONMALLOC="malloc",  # pymalloc's arenas would hide an overrun inside them
            LD_PRELOAD=preload,
            ASAN_OPTIONS=f"detect_leaks=0{option}",  # CPython frees little at exit
            UBSAN_OPTIONS="print_stacktrace=1",
        )


def build_sanitized(session: nox.Session) -> None:
    """Our package under build/sanitize: all its Python files, and its C files to be watched."""
    package = SANITIZED / "nilometer"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(
        ROOT / "src" / "nilometer",
        package,
        ignore=shutil.ignore_patterns("*.so", "__pycache__"),
    )
    session.run(
        *(sys.executable, "setup.py", "-q", "build_ext", "--force"),
        f"--build-lib={SANITIZED}",
        f"--build-temp={SANITIZED}/objects",
        env={"NILOMETER_REQUIRE_C": "1", "NILOMETER_SANITIZE": "address,undefined"},
        external=True,
    )


def gcc_file(name: str) -> str:
    """Where this compiler keeps one of its libraries."""
    path = subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True)
    return str(Path(path.strip()).resolve())


@nox.session(python=False, tags=REST)
def missing(session: nox.Session) -> None:
    """Say which Pythons were not found, so that nobody takes them for tested."""
    for version in NEWER:
        if version not in FOUND:
            session.warn(f"Python {version}: not found, on PATH or among pyenv's; not tested")
