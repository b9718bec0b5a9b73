"""What must not be in the repository: traces of one machine, marks of unfinished work."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

# Written with a class in each so that this file does not find itself.
FORBIDDEN = {
    r"/roo[t]/|/wor[k]/|/hom[e]/\w": "a path of one machine: make it relative",
    r"\.\./share[d]": "a folder outside the project",
    r"[.]pyen[v]/versions/\d": "one machine's Pythons: noxfile.py knows how to look for them",
    r"py[p]i[.]or[g]|python[h]osted|npm[j]s[.]|deb[.]debia[n]|[c]rates[.]io": (
        "a registry's host: packages come from wherever the user's clients are told"
    ),
    r"\b(TOD[O]|FIXM[E]|XX[X]|HAC[K])\b": "unfinished: do it, or say in prose what is missing",
}
TEXT_BYTES_MAX = 500_000  # a hundred times the longest module; what is larger is data


def tracked_files() -> list[Path]:
    """All files that git knows, or would take."""
    said = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return [path for name in said.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_what_only_one_machine_has_or_what_is_unfinished() -> None:
    found = []
    for path in tracked_files():
        text = path.read_bytes().decode(errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            found += [
                f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}: {why}"
                for pattern, why in FORBIDDEN.items()
                if re.search(pattern, line)
            ]

    assert found == []


def test_no_large_or_built_file_is_kept() -> None:
    built = {".so", ".o", ".pyc", ".whl", ".gz", ".zip", ".db", ".sqlite"}

    assert [p for p in tracked_files() if p.stat().st_size > TEXT_BYTES_MAX] == []
    assert [p for p in tracked_files() if p.suffix in built] == []


def test_what_says_by_which_program_it_runs_can_be_run() -> None:
    """Also in a fresh clone: by the mode that git keeps."""
    said = subprocess.check_output(["git", "ls-files", "-s"], cwd=ROOT, text=True)
    modes = {
        name: mode for mode, name in (line.split(maxsplit=3)[::3] for line in said.splitlines())
    }
    scripts = [name for name in modes if (ROOT / name).is_file()]
    begun = [name for name in scripts if (ROOT / name).read_bytes().startswith(b"#!")]

    assert {name: modes[name] for name in begun if modes[name] != "100755"} == {}
    assert "scripts/setup" in begun


def test_no_test_is_left_out() -> None:
    """A skipped test looks like a passed one. One that cannot run fails, and says why."""
    left_out = re.compile(
        r"pytest[.](ski[p]|xfai[l]|importorski[p])\(|mark[.](ski[p]|xfai[l]|ski[p]if)\b"
        r"|(unit|py)tes[t] import .*(ski[p]|xfai[l]|mar[k])|unittes[t][.](ski[p]|expectedF)"
    )
    found = {
        path.relative_to(ROOT).as_posix(): count
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if (count := len(left_out.findall(path.read_text())))
    }

    assert found == {}


def test_no_ignored_rule_goes_without_its_name() -> None:
    """`noqa` and `type: ignore` say which rule, so that no other hides behind them."""
    bare = re.compile(r"#\s*(noqa(?!:)|type:\s*ignore(?!\[))")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked_files()
        if path.suffix == ".py" and path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if bare.search(line)
    ]

    assert found == []
