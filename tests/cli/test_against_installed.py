"""`measure --against` where the project is installed: each version imports its own files.

The environments are real, and what points into the checkout is written by pip and setuptools.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

from nilometer.cli.exits import Exit
from nilometer.cli.imports import is_python
from tests.cli.test_against import git
from tests.cli.test_measure import BUMP, Place, place  # noqa: F401 - a fixture

WORK = "import subprocess, sys\nfrom shop import CALLS\n"
WORK += f"subprocess.run([*{BUMP}, sys.argv[1], 'calls', str(CALLS)])\n"
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "shop"
version = "1"
[tool.setuptools]
"""
LAYOUTS = {
    "src": ("src/shop", 'packages.find.where = ["src"]\n'),
    "flat": ("shop", 'packages = ["shop"]\n'),
    "renamed": ("code/things", 'packages = ["shop"]\npackage-dir = {shop = "code/things"}\n'),
}
pytestmark = pytest.mark.slow

SECONDS_MAX = 240  # twelve runs of pytest with a worker, where other tests want the processor
IGNORED = "build/\n*.egg-info\n__pycache__/\n.venv/\n*.so\n_version.py\n"


class Project(NamedTuple):
    """A repository whose `base` makes 3 calls while its files make 4, and an environment."""

    place: Place
    package: Path
    python: Path

    @property
    def root(self) -> Path:
        return self.place.root

    def pip(self, *words: str) -> None:
        command = [self.python, "-m", "pip", "install", "-q", "--no-build-isolation"]
        command += ["--no-deps", "--no-index", "--disable-pip-version-check", *words]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        subprocess.run(command, cwd=self.root, env=environment, check=True, capture_output=True)

    def installed(self) -> Path:
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        return self.python.parent.parent / "lib" / version / "site-packages"

    def against(self, *command: object, flags: tuple[str, ...] = ()):
        run = command or (self.python, "checks/work.py", self.place.server)
        words = ["--against", "base", "--pairs", "6", *flags, "--", *run]
        return self.place.measure(*words, timeout=SECONDS_MAX)


def project_of(place: Place, layout: str, environment: Path) -> Project:  # noqa: F811
    folder, settings = LAYOUTS[layout]
    package = place.root / folder
    package.mkdir(parents=True)
    (place.root / "checks").mkdir()
    (place.root / "checks" / "work.py").write_text(WORK)
    (place.root / "pyproject.toml").write_text(PROJECT + settings)
    (place.root / ".gitignore").write_text(IGNORED)
    (package / "__init__.py").write_text("CALLS = 3\n")
    git(place.root, "init", "-q")
    git(place.root, "add", ".")
    git(place.root, "commit", "-qm", "base")
    git(place.root, "tag", "base")
    (package / "__init__.py").write_text("CALLS = 4\n")
    venv.create(environment, symlinks=True)
    project = Project(place, package, environment / "bin" / "python")
    # pip, setuptools and pytest are ours; what a .pth of ours says is not read from there.
    outer = sysconfig.get_path("purelib")
    (project.installed() / "outer.pth").write_text(outer + "\n")
    return project


@pytest.fixture
def make(place, tmp_path):  # noqa: F811
    return lambda layout, inside=False: project_of(
        place, layout, place.root / ".venv" if inside else tmp_path / "environment"
    )


def listed(project: Project) -> list[str]:
    said = subprocess.check_output(["git", "worktree", "list"], cwd=project.root, text=True)
    return said.splitlines()


@pytest.mark.parametrize(
    ("layout", "mode", "written"),
    [
        ("src", "", "__editable__.shop-1.pth"),
        ("flat", "", "__editable___shop_1_finder.py"),
        ("flat", "compat", "__editable__.shop-1.pth"),
        ("renamed", "", "__editable___shop_1_finder.py"),
    ],
)
def test_an_editable_install_hides_no_change(make, layout, mode, written) -> None:
    """It points to the files here, from wherever it is run: 4 would be compared with 4."""
    project = make(layout)
    project.pip("-e", ".", *(["--config-settings", f"editable_mode={mode}"] if mode else []))
    assert (project.installed() / written).exists()

    ended = project.against()

    assert (ended.returncode, ended.stderr.count("nobody checked")) == (Exit.FAILED, 0)
    assert "fake:calls +1 (+33.3 %): 4 instead of 3" in ended.stdout
    assert len(listed(project)) == 1


def test_an_environment_within_the_checkout_serves_both_versions(make) -> None:
    """No worktree has it, so a program of it is run from here, and its packages are shared."""
    project = make("src", inside=True)
    project.pip("-e", ".")

    ended = project.against(".venv/bin/python", "checks/work.py", project.place.server)

    assert ended.returncode == Exit.FAILED
    assert "fake:calls +1 (+33.3 %): 4 instead of 3" in ended.stdout


def test_pytest_its_workers_and_variables_are_kept_apart_too(make) -> None:
    """PYTHONPATH names this checkout; a test imports, and starts a process that does."""
    project = make("src")
    (project.root / "checks" / "test_shop.py").write_text(
        "import os, subprocess, sys\n"
        "def test_it():\n"
        "    import shop\n"
        "    work = [sys.executable, 'checks/work.py', os.environ['SERVER']]\n"
        "    subprocess.run(work, check=True)\n"
    )
    git(project.root, "add", "checks")
    git(project.root, "commit", "-qm", "base", "checks")
    git(project.root, "tag", "-f", "base")
    paths = project.place.environment["PYTHONPATH"]
    project.place.environment.update(
        PYTHONPATH=f"{project.package.parent}{os.pathsep}{paths}",
        SERVER=str(project.place.server),
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",  # ours is one, and not in that environment
    )

    workers = ["-p", "xdist.plugin", "-n", "1", "-p", "no:cacheprovider"]
    ended = project.against(project.python, "-m", "pytest", "-q", *workers, "checks")

    assert ended.returncode == Exit.FAILED, ended.stderr
    assert "fake:calls +1 (+33.3 %): 4 instead of 3" in ended.stdout


def test_absolute_paths_of_this_checkout_are_those_of_the_other_version_there(make) -> None:
    project = make("src")
    project.pip("-e", ".")
    script = project.root / "checks" / "work.py"
    (project.root / "more.py").write_text("")
    git(project.root, "add", "more.py")

    moved = project.against(project.python, script, project.place.server)
    lacking = project.against(project.python, project.root / "more.py")

    assert moved.returncode == Exit.FAILED
    assert "fake:calls +1 (+33.3 %): 4 instead of 3" in moved.stdout
    assert (lacking.returncode, lacking.stdout) == (Exit.USAGE, "")
    assert f"COMMAND names {project.root / 'more.py'}, which it does not have" in lacking.stderr


def test_a_strict_editable_install_is_refused_with_what_to_do(make) -> None:
    project = make("src")
    project.pip("-e", ".", "--config-settings", "editable_mode=strict")

    ended = project.against()

    assert (ended.returncode, ended.stdout) == (Exit.NOT_FOUND, "")
    assert "Install it without editable_mode=strict" in ended.stderr


def test_a_copy_that_is_installed_is_refused_with_what_to_do(make) -> None:
    """Both versions would run it, and cost the same."""
    project = make("src")
    project.pip(".")

    ended = project.against()

    assert (ended.returncode, ended.stdout) == (Exit.NOT_FOUND, "")
    assert "it imported shop from " in ended.stderr
    assert "a copy that is installed" in ended.stderr
    assert "If both are to run the same of it, say so: --shared shop" in ended.stderr


def test_a_copy_that_is_meant_for_both_versions_is_shared_by_name(make) -> None:
    """As where a folder of the checkout is called like a library that COMMAND uses."""
    project = make("src")
    project.pip(".")

    ended = project.against(flags=("--shared", "shop"))
    other = project.against(flags=("--shared", "shopping"))

    assert (ended.returncode, ended.stderr.count("pair ")) == (Exit.OK, 6), ended.stderr
    assert (other.returncode, "it imported shop from" in other.stderr) == (Exit.NOT_FOUND, True)


def test_files_of_this_version_that_the_other_imports_in_whatever_way_are_seen(make) -> None:
    """A link in place of the package, as flit makes it, is no path that could be exchanged."""
    project = make("src")
    (project.installed() / "shop").symlink_to(project.package)

    ended = project.against()

    assert (ended.returncode, ended.stdout) == (Exit.NOT_FOUND, "")
    assert f"of base it imported shop from {project.package}/__init__.py" in ended.stderr


def test_what_a_build_made_is_missed_until_it_is_prepared_there(make) -> None:
    """A fallback would be compared with what stands in for it."""
    project = make("src")
    project.pip("-e", ".")
    fallback = "try:\n    from shop._version import CALLS\nexcept ImportError:\n    CALLS = 9\n"
    (project.package / "__init__.py").write_text(fallback)
    git(project.root, "commit", "-qam", "base")
    git(project.root, "tag", "-f", "base")
    (project.package / "__init__.py").write_text(fallback + "CALLS += 1\n")
    (project.package / "_version.py").write_text("CALLS = 3\n")
    build = "import pathlib; pathlib.Path('src/shop/_version.py').write_text('CALLS = 3')"

    missed = project.against()
    built = project.against(flags=("--prepare", f'{project.python} -c "{build}"'))
    failed = project.against(flags=("--prepare", "false"))

    assert (missed.returncode, missed.stdout) == (Exit.NOT_FOUND, "")
    assert "imports src/shop/_version.py, which git ignores" in missed.stderr
    assert built.returncode == Exit.FAILED
    assert "fake:calls +1 (+33.3 %): 4 instead of 3" in built.stdout
    assert (failed.returncode, failed.stdout) == (Exit.USAGE, "")


def test_python_that_tells_nothing_of_imports_is_refused(make) -> None:
    """Isolated, it sees only where the editable install points to: the files here."""
    project = make("src")
    project.pip("-e", ".")

    ended = project.against(project.python, "-I", "checks/work.py", project.place.server)

    assert (ended.returncode, ended.stdout) == (Exit.NOT_FOUND, "")
    assert "is Python, but did not tell what it imports: without -I, -E" in ended.stderr


def test_that_nobody_checked_what_a_command_imports_is_said(make) -> None:
    project = make("src")

    ended = project.against("sh", "-c", "true")

    assert ended.returncode == Exit.NOT_FOUND  # it moved nothing that could be compared
    assert "so nobody checked that its own files ran" in ended.stderr


def test_a_sitecustomize_of_the_environment_still_runs(make) -> None:
    project = make("src")
    project.pip("-e", ".")
    seen = project.root.parent / "seen"
    theirs = f"open({str(seen)!r}, 'a').write('x')\n"
    (project.installed() / "sitecustomize.py").write_text(theirs)

    project.against(project.python, "-c", "import shop")

    assert seen.read_text() == "x" * 12


PIPS = "#!/bin/sh\n'''exec' \"/a long way/bin/python3.11\" \"$0\" \"$@\"\n' '''\nimport sys\n"


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("#!/usr/bin/env -S python3 -u\n", True),
        ("#!/opt/pypy3\n", True),
        (PIPS, True),
        ("#!/bin/sh\nset -e\npython -m pytest\n", False),
        ("#!/bin/sh\nexec python -m pytest\n", False),
        ("#!/srv/python/bin/sh\nmake test\n", False),
    ],
)
def test_a_script_is_python_if_python_reads_it_and_not_if_it_starts_python(
    start, expected, tmp_path
) -> None:
    script = tmp_path / "check"
    script.write_text(start)
    script.chmod(0o755)

    assert is_python(str(script), None) is expected


def test_a_shell_script_that_runs_python_is_compared(make) -> None:
    project = make("src")
    project.pip("-e", ".")
    script = project.root.parent / "check.sh"
    script.write_text(f'#!/bin/sh\nset -e\n{project.python} checks/work.py "$1"\n')
    script.chmod(0o755)

    ended = project.against(script, project.place.server)

    assert ended.returncode == Exit.FAILED
    assert "fake:calls +1 (+33.3 %): 4 instead of 3" in ended.stdout
