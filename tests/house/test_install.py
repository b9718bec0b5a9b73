"""What is installed: complete, and usable without a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "src" / "nilometer"
pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Its output, both streams; a failure shows it."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", "NILOMETER_REQUIRE_C": "", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(what: str, source: Path, to: Path, **env: str) -> Path:
    """Build an ``sdist`` or a ``wheel`` as pip does, with the setuptools that is here."""
    code = f"import setuptools.build_meta as m; print(m.build_{what}({str(to)!r}))"
    return to / run(sys.executable, "-c", code, cwd=source, **env).split()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ours, built once, from a copy: a build leaves files behind."""
    folder = tmp_path_factory.mktemp("sdist")
    source = folder / "source"
    run("git", "clone", "-q", ROOT, source, cwd=folder)
    changed = run(
        "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT
    )
    for name in filter(None, changed.split("\0")):  # what is not committed counts, too
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    return build("sdist", source, folder)


@pytest.fixture(scope="module")
def wheel_of(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``wheel_of(CC)``: the wheel that this compiler makes of the sdist."""

    def make(compiler: str) -> Path:
        folder = tmp_path_factory.mktemp("wheel")
        run("tar", "-xf", sdist, cwd=folder)
        (source,) = folder.iterdir()
        return build("wheel", source, folder, CC=compiler)

    return make


def relative(paths: set[Path]) -> set[str]:
    return {f"nilometer/{path.relative_to(PACKAGE)}" for path in paths}


def test_the_wheel_holds_every_module_every_twin_and_the_types_mark(
    wheel_of: Callable[[str], Path],
) -> None:
    names = set(zipfile.ZipFile(wheel_of("gcc")).namelist())

    pages = PACKAGE / "web"
    data = {PACKAGE / "py.typed", *PACKAGE.rglob("*.sql")}
    data |= {*(pages / "templates").iterdir(), *(pages / "static").iterdir()}
    assert relative({*PACKAGE.rglob("*.py")} | data) <= names
    twins = {str(Path(name).with_suffix("")) for name in relative({*PACKAGE.glob("*/_*.c")})}
    compiled = {name.partition(".")[0] for name in names if name.endswith(".so")}
    assert compiled == twins


def test_the_core_of_an_installed_wheel_fits_the_sources_that_came_with_it(
    wheel_of: Callable[[str], Path], tmp_path: Path
) -> None:
    zipfile.ZipFile(wheel_of("gcc")).extractall(tmp_path)
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from nilometer import twin
from nilometer.integrations import databases, event_loops, exchange
from nilometer.measure import twin as instruments
from nilometer.store import jsontexts
from nilometer.trace import twin as spans
from nilometer.wire import otlp, otlp_spans
print(*(choice.implementation for choice in twin.CHOICES.values()))
"""
    said = run(
        *(sys.executable, "-S", "-c", code, tmp_path), cwd=tmp_path, NILOMETER_REQUIRE_C="1"
    )

    assert said.split() == ["c"] * len({*PACKAGE.glob("*/_*.c")})
    assert len({*tmp_path.rglob("*.c")}) == len({*PACKAGE.glob("*/_*.c")})


def test_the_sdist_holds_what_is_needed_to_build_and_to_test(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    tracked = run("git", "ls-files", "src", "tests", "docs", "examples", cwd=ROOT).split()
    needed = {"pyproject.toml", "setup.py", "Makefile", "noxfile.py", "README.md", "LICENSE"}
    assert {*tracked, *needed} - names == set()


@pytest.fixture(scope="module")
def without_compiler(
    wheel_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The base install, without its C core and without any extra."""
    target = tmp_path_factory.mktemp("base") / "installed"
    run(
        *(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"),
        *("--target", target, wheel_of("/bin/false")),
        cwd=target.parent,
    )
    return target


def test_an_install_without_a_compiler_works_and_says_why_it_is_slow(
    without_compiler: Path, tmp_path: Path
) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import nilometer
from nilometer import twin
nilometer.counter("works").add()
with nilometer.span("works"):
    print(nilometer.__file__)
for choice in twin.CHOICES.values():
    print(choice)
"""
    file, *choices = run(
        *(sys.executable, "-S", "-c", code, without_compiler), cwd=tmp_path
    ).splitlines()

    assert list(without_compiler.rglob("*.so")) == []
    assert file.startswith(str(without_compiler))
    assert len(choices) >= 2
    assert all("implementation='python'" in c and "No module named" in c for c in choices)
    assert all("slower" in c and "install a compiler" in c for c in choices)


def test_the_doctor_of_a_base_install_says_that_the_c_core_is_missing(
    without_compiler: Path, tmp_path: Path
) -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
sys.argv = ["nilometer", "doctor"]
from nilometer.cli import main
try:
    main()
except SystemExit as end:
    print("ended with", int(end.code))
"""
    said = run(*(sys.executable, "-S", "-c", code, without_compiler), cwd=tmp_path).splitlines()

    assert said[-1] == "ended with 5"
    told = "! core: measure._core: python (No module named 'nilometer.measure._core': "
    assert any(line.startswith(f"{told}several times slower") for line in said)
