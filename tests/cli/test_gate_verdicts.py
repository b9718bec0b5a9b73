"""`nilometer gate learn | check | report | accept` on a history that lies on a disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING

import pytest
from deltalake import DeltaTable

from nilometer.cli import gate_past
from nilometer.cli.exits import Exit
from nilometer.cli.journal import Journal
from nilometer.clock import Clock
from nilometer.errors import StoreError
from nilometer.gate import chosen
from nilometer.model.run import Count
from nilometer.store.runs import History
from tests.gate.histories import run, runs
from tests.gate.test_attribution import shop_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess as Ran

    from nilometer.model.run import Run

BASE = {"Com_select": 800, "Bytes": 90_000}
MORE = {**BASE, "Com_select": 840}


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "history"


@pytest.fixture(scope="module")
def quiet_one(tmp_path_factory) -> Path:
    """A history of 58 runs that all did the same."""
    place: Path = tmp_path_factory.mktemp("quiet") / "history"
    history = History(place, durability="os")
    for one in runs(58, BASE):
        history.append(one)
    history.close()
    return place


@pytest.fixture
def quiet(place, quiet_one) -> None:
    """The history is such a one."""
    copytree(quiet_one, place)


@pytest.fixture
def recorded(place) -> Callable[..., None]:
    """``recorded(*runs)`` appends them to the history."""

    def append(*found: Run) -> None:
        history = History(place, durability="os")
        for one in found:
            history.append(one)
        history.close()

    return append


@pytest.fixture
def gate(quick, place, tmp_path) -> Callable[..., Ran[str]]:
    """``gate("check", "--fail")``: what it wrote, and how it ended."""

    def run_it(command: str, *flags: str) -> Ran[str]:
        history = ["--history", str(place)]
        return quick("gate", command, *history, *flags, XDG_STATE_HOME=str(tmp_path / "state"))

    return run_it


def test_a_change_is_named_with_what_it_is_put_down_to(recorded, gate) -> None:
    recorded(*[shop_run(at, 40) for at in range(25)], shop_run(25, 80))

    said = gate("check")

    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.splitlines()[0] == "warn: run r25 of shop"
    assert "mysql:Com_select +40 (+5.0 %): 840 instead of 800" in said.stdout
    assert "SELECT * FROM `lines` WHERE `order_id` = ?" in said.stdout
    assert "at shop/orders.py:17" in said.stdout


@pytest.mark.usefixtures("quiet")
def test_an_unchanged_run_is_silent_where_people_get_it_unasked(gate) -> None:
    said = {shape: gate("check", "--format", shape) for shape in ("github", "markdown", "bug")}

    assert {(one.stdout, one.stderr, one.returncode) for one in said.values()} == {("", "", 0)}
    told = gate("check", "--format", "markdown", "--nothing").stdout
    assert "**nilometer: nothing** changed in `shop`." in told


@pytest.mark.parametrize(
    ("flags", "codes"),
    [
        ([], [Exit.OK] * 3),
        (["--fail"], [Exit.OK, Exit.OK, Exit.FAILED]),
        (["--fail", "--only-confirmed"], [Exit.OK] * 3),
    ],
)
@pytest.mark.usefixtures("quiet")
def test_it_exits_with_6_only_if_asked_to_fail_and_from_59_runs(
    flags, codes, recorded, gate
) -> None:
    recorded(run(58, MORE), run(59, BASE), run(60, BASE), run(61, MORE))

    said = [gate("check", "--run", one, *flags) for one in ("r57", "r58", "r61")]

    assert [one.returncode for one in said] == codes


@pytest.mark.usefixtures("quiet")
def test_a_failure_can_wait_for_a_second_measurement(recorded, gate) -> None:
    recorded(run(58, BASE), run(59, MORE), run(60, MORE))

    said = gate("check", "--run", "r60", "--fail", "--only-confirmed")

    assert (said.returncode, "confirmed by run r59" in said.stdout) == (Exit.FAILED, True)


@pytest.mark.usefixtures("quiet")
def test_the_output_can_be_a_file(recorded, gate, tmp_path) -> None:
    recorded(run(58, MORE))
    file = tmp_path / "gate.sarif"

    said = gate("check", "--format", "sarif", "--output", str(file))

    assert (said.stdout, said.returncode) == ("", 0)
    assert json.loads(file.read_text())["version"] == "2.1.0"


@pytest.mark.usefixtures("quiet")
def test_a_file_that_cannot_be_written_is_told(gate, tmp_path) -> None:
    said = gate("check", "--output", str(tmp_path))

    assert (said.returncode, "Is a directory" in said.stderr) == (Exit.USAGE, True)


@pytest.mark.usefixtures("quiet")
def test_an_accepted_change_is_silent_from_then_on(recorded, gate) -> None:
    recorded(run(58, MORE))

    accepted = gate("accept", "--reason", "the audit log", "--by", "ada")
    recorded(run(59, MORE))
    said = json.loads(gate("check", "--format", "json").stdout)

    assert accepted.stdout == "accepted from run r58 on: mysql:Com_select\n"
    assert (said["outcome"], said["findings"]) == ("pass", [])
    assert (
        "accepted by ada from run r58 on: mysql:Com_select: the audit log"
        in gate("report").stdout
    )


@pytest.mark.parametrize("damage", ["emptied", "deleted"])
@pytest.mark.usefixtures("quiet")
def test_a_damaged_file_of_acceptances_is_named_and_makes_the_verdict_unknown(
    damage: str, recorded, gate, place
) -> None:
    recorded(run(58, MORE))
    gate("accept", "--reason", "the audit log", "--by", "ada")
    (file,) = DeltaTable(str(place / "events")).file_uris()
    gate("accept", "--run", "r57", "--all", "--reason", "a new machine", "--by", "ada")
    if damage == "emptied":
        Path(file).write_bytes(b"")
    else:
        Path(file).unlink()

    said = gate("check", "--fail")
    shown, learned = gate("report", "--runs", "2"), gate("learn")
    again = gate("accept", "--reason", "once more", "--by", "ada")
    recorded(run(59, MORE))
    after = json.loads(gate("check", "--format", "json").stdout)

    assert said.returncode == 0
    assert said.stdout.startswith("unknown: run r58 of shop")
    assert f"what was accepted is not known; lost: {Path(file).parent.name}" in said.stdout
    assert "mysql:Com_select +40" in said.stdout
    assert (shown.returncode, learned.returncode) == (0, 0)
    for one in (shown, learned):
        assert "what was accepted is not known; lost: " in one.stdout
    assert again.stdout == "accepted from run r58 on: mysql:Com_select\n"
    assert (after["outcome"], after["findings"]) == ("unknown", [])
    assert any("once more" in note for note in after["notes"])


def test_runs_that_take_no_part_use_up_none_of_those_that_are_looked_at(
    recorded, place, monkeypatch
) -> None:
    monkeypatch.setattr(chosen, "RUNS_MAX", 20)
    monkeypatch.setattr(chosen, "READ_MAX", 80)
    monkeypatch.setattr(chosen, "ENOUGH", 16)
    main = [run(at, BASE, branch="main") for at in range(30)]
    others = [run(30 + at, MORE, branch="pr", test_set=f"t{at % 3}") for at in range(30)]
    recorded(*main, *others)

    with gate_past.Past(str(place), "shop") as past:
        by_main = past.choose("last", branches=["main"])
        first = past.choose("r25", branches=["main"])
        by_all = past.choose("last")

    assert [len(one.earlier) for one in (by_main, first, by_all)] == [59, 25, 59]


@pytest.mark.usefixtures("quiet")
def test_what_is_torn_of_the_last_acceptance_is_said_with_the_next(gate, place) -> None:
    gate("accept", "--all", "--reason", "a new machine")
    (file,) = DeltaTable(str(place / "events")).file_uris()
    Path(file).unlink()

    said = gate("accept", "--all", "--reason", "once more")

    assert said.stdout == "accepted from run r57 on: all counters\n"
    assert "torn, and set aside: " in said.stderr


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--reason", " "], Exit.USAGE, "say why"),
        (["--reason", "x"], Exit.NOT_FOUND, "nothing moved in run r57"),
        (["--reason", "x", "--counter", "mysql:Com_selct"], Exit.USAGE, "mysql:Com_select?"),
        (["--reason", "x", "--counter", "a", "--all"], Exit.USAGE, "one of them"),
        (["--reason", "x", "--run", "zz"], Exit.NOT_FOUND, "the latest are r55, r56, r57"),
    ],
)
@pytest.mark.usefixtures("quiet")
def test_what_cannot_be_accepted_is_refused(flags, code, said, gate) -> None:
    answer = gate("accept", *flags)

    assert (answer.returncode, answer.stdout) == (code, "")
    assert said in answer.stderr


def test_of_many_counters_those_are_named_that_may_be_meant(recorded, gate) -> None:
    recorded(run(0, {f"Com_{at:03}": 1 + at for at in range(90)}))

    def refused(counter: str) -> str:
        said: str = gate("accept", "--reason", "x", "--counter", counter).stderr
        return said.strip()

    none = "nilometer: --counter {}: there is none; "
    assert refused("mysql:Com_08x") == none.format("mysql:Com_08x") + (
        "did you mean mysql:Com_089 or mysql:Com_088 or mysql:Com_087?"
    )
    assert refused("?") == none.format("?") + (
        "`nilometer gate learn` shows them: mysql:Com_000, mysql:Com_001, mysql:Com_002, "
        "mysql:Com_003, mysql:Com_004, mysql:Com_005, mysql:Com_006, mysql:Com_007, "
        "mysql:Com_008, mysql:Com_009 and 80 more"
    )


@pytest.mark.usefixtures("quiet")
def test_all_counters_can_be_accepted(gate) -> None:
    said = gate("accept", "--all", "--reason", "a new machine")

    assert said.stdout == "accepted from run r57 on: all counters\n"


def test_the_best_predictors_are_listed_first(recorded, gate) -> None:
    recorded(*[run(at, {**BASE, "wild": at * 7 % 10 + 1}) for at in range(25)])

    told = json.loads(gate("learn", "--json").stdout)
    shown = gate("learn").stdout

    assert [(one["counter"], one["class"]) for one in told["counters"]] == [
        ("Bytes", "exact"),
        ("Com_select", "exact"),
        ("wild", "excluded"),
    ]
    assert told["counters"][1]["smallest_change"] == 6.4
    assert "2 counters of 25 runs of shop; 1 others take no part" in shown
    assert "mysql:wild" in gate("learn", "--all").stdout


@pytest.mark.usefixtures("quiet")
def test_a_report_says_what_stayed_and_what_went_away(recorded, gate) -> None:
    recorded(run(58, MORE), run(59, BASE))

    told = json.loads(gate("report", "--runs", "3", "--json").stdout)

    assert [(one["run"]["id"], one["outcome"]) for one in told["verdicts"]] == [
        ("r57", "pass"),
        ("r58", "warn"),
        ("r59", "pass"),
    ]
    (finding,) = told["verdicts"][1]["findings"]
    assert finding["went_away"] == "back at 800 in run r59"
    assert "it went away" in gate("report").stdout


def test_a_report_names_the_same_counter_and_parts_as_the_verdict_on_the_run(
    recorded, gate
) -> None:
    def both(number: int, lines: int) -> Run:
        one = shop_run(number, lines)
        more = Count("mysql", "Bytes_received", 9000 + 20 * lines)
        return one._replace(counts=(*one.counts, more))

    recorded(*[both(at, 40) for at in range(25)], both(25, 80))

    checked = json.loads(gate("check", "--format", "json").stdout)
    (reported,) = json.loads(gate("report", "--runs", "1", "--json").stdout)["verdicts"]

    assert reported == checked
    assert reported["findings"][0]["parts"]


@pytest.mark.usefixtures("quiet")
def test_an_earlier_run_is_judged_by_those_before_it(gate) -> None:
    told = json.loads(gate("check", "--run", "r25", "--format", "json").stdout)

    assert (told["run"]["id"], told["runs"], told["outcome"]) == ("r25", 25, "pass")


@pytest.mark.usefixtures("quiet")
def test_the_last_run_is_the_one_recorded_last_whatever_its_clock_said(recorded, gate) -> None:
    recorded(run(-1000, MORE))

    said = gate("check")

    assert said.stdout.splitlines()[0] == "warn: run r-1000 of shop"
    assert "note: a clock is wrong: 58 runs" in said.stdout


def test_suites_are_apart_and_the_latest_is_taken(recorded, gate) -> None:
    other = [one._replace(id=f"o{one.id}") for one in runs(4, MORE, suite="other")]
    recorded(*other, *runs(6, BASE))

    assert "run r5 of shop" in gate("check").stdout
    assert "run or3 of other" in gate("check", "--suite", "other").stdout
    assert "run or1 of other" in gate("check", "--run", "or1").stdout


def test_where_there_is_no_history_that_is_told(gate, place) -> None:
    for command in ("check", "learn", "report"):
        said = gate(command)

        assert (said.returncode, said.stdout) == (Exit.NOT_FOUND, "")
        assert f"there is no history in {place}; `nilometer measure` makes one" in said.stderr


@pytest.mark.usefixtures("quiet")
def test_an_id_that_two_runs_begin_with_is_refused(gate) -> None:
    said = gate("check", "--run", "r1")

    assert (said.returncode, said.stdout.count("of shop")) == (0, 1)  # r1 itself is one
    assert gate("check", "--run", "r").returncode == Exit.USAGE


def test_a_damaged_file_of_the_history_is_named_and_nothing_is_guessed(
    recorded, gate, place
) -> None:
    now_ns = Clock().wall_ns()
    days = [3, 3, 3, 3, 3, 3, 0]  # the last one is in a file of its own
    times = [now_ns - day * 86_400 * 10**9 + at for at, day in enumerate(days)]
    found = zip(runs(7, BASE), times, strict=True)
    recorded(*[one._replace(started_ns=ns, ended_ns=ns) for one, ns in found])
    first, _ = sorted(DeltaTable(str(place / "runs")).file_uris())  # by date
    Path(first).write_bytes(b"broken" * 100)

    said = gate("check")

    assert (said.returncode, said.stdout.splitlines()[0]) == (0, "unknown: run r6 of shop")
    assert "0 earlier runs to compare with" in said.stdout
    assert "lost: " in said.stdout
    assert "cannot be read" in said.stdout

    other = gate("check", "--run", "r2")

    assert (other.returncode, other.stdout) == (int(Exit.NOT_FOUND), "")
    assert "no run 'r2' of 'shop' in what can be read of the history" in other.stderr
    assert "it may be in what cannot: " in other.stderr


@pytest.mark.parametrize("more", [(), ("--suite", "shop")], ids=["latest", "suite"])
def test_a_damaged_file_that_holds_all_runs_is_named(recorded, gate, place, more) -> None:
    recorded(*runs(3, BASE))
    for file in DeltaTable(str(place / "runs")).file_uris():
        Path(file).write_bytes(b"broken" * 100)

    said = gate("check", *more)

    assert (said.returncode, said.stdout) == (int(Exit.NOT_FOUND), "")
    assert "; it may be in what cannot: lost: date=" in said.stderr
    assert "cannot be read: " in said.stderr


def of_today(one: Run) -> Run:
    """The run as if it had ended now: those of past days are merged into one file."""
    now_ns = Clock().wall_ns()
    return one._replace(started_ns=now_ns, ended_ns=now_ns)


def spoil_latest(root: Path, what: str) -> str:
    """Damage what the latest commit of the table added, or its entry; the part's name."""
    entry = max((root / "_delta_log").glob("[0-9]*.json"))
    if what in ("entry emptied", "entry torn"):
        entry.write_bytes(entry.read_bytes()[: 50 if what == "entry torn" else 0])
        return entry.name
    lines = map(json.loads, entry.read_text().splitlines())
    (added,) = [line["add"]["path"] for line in lines if "add" in line]
    file = root / added
    whole = file.read_bytes()
    if what == "deleted":
        file.unlink()
    else:
        spoilt = {"torn": whole[: len(whole) // 2], "emptied": b"", "zeroed": bytes(len(whole))}
        file.write_bytes(spoilt[what])
    return file.name


@pytest.mark.parametrize(
    "what", ["torn", "emptied", "deleted", "zeroed", "entry emptied", "entry torn"]
)
def test_where_the_latest_run_cannot_be_read_none_before_it_passes_for_it(
    recorded, gate, place, what
) -> None:
    recorded(*runs(25, BASE), run(25, MORE), run(26, BASE), of_today(run(27, MORE)))
    spoilt = spoil_latest(place / "runs", what)

    latest, named, earlier = (
        json.loads(gate("check", *which, "--format", "json").stdout)
        for which in ((), ("--run", "r26"), ("--run", "r25"))
    )
    reported = gate("report", "--runs", "1").stdout

    assert (latest["run"]["id"], latest["outcome"]) == ("r26", "unknown")
    assert latest["because"].startswith("lost: ")
    assert spoilt in latest["because"]
    assert latest["because"].endswith("; this is the latest that can be judged")
    assert (named["outcome"], earlier["outcome"]) == ("pass", "warn")
    assert ("unknown" in reported, spoilt in reported) == (True, True)


def test_what_is_found_before_a_latest_run_that_cannot_be_read_is_told_with_a_note(
    recorded, gate, place
) -> None:
    recorded(*runs(25, BASE), run(25, MORE), of_today(run(26, BASE)))
    spoilt = spoil_latest(place / "runs", "torn")

    told = json.loads(gate("check", "--format", "json").stdout)

    assert (told["run"]["id"], told["outcome"]) == ("r25", "warn")
    assert spoilt in told["notes"][0]


def test_where_the_latest_run_of_all_cannot_be_read_no_other_suite_is_judged_for_it(
    recorded, gate, place
) -> None:
    other = [one._replace(id=f"o{one.id}") for one in runs(25, BASE, suite="other")]
    recorded(*runs(6, BASE), *other, of_today(run(6, BASE)))
    spoil_latest(place / "runs", "torn")

    latest, other_s = gate("check"), gate("check", "--suite", "other")

    assert latest.stdout.splitlines()[0] == "unknown: run r5 of shop"
    assert "  because lost: date=" in latest.stdout
    assert other_s.stdout.splitlines()[0] == "pass: run or24 of other"


def test_a_measure_that_died_is_told_and_judges_nobody(recorded, gate, place, tmp_path) -> None:
    recorded(*runs(2, BASE))
    entry = Journal(str(place), tmp_path / "state" / "nilometer").begin(run(2, BASE))
    os.close(entry.lock)  # as the kernel does when measure is killed

    said = gate("check")

    assert "never seen to end" in said.stderr
    assert said.stdout.splitlines()[0] == "unknown: run r2 of shop"


def test_where_the_latest_run_cannot_be_recorded_none_before_it_passes_for_it(
    recorded, gate, place, tmp_path, monkeypatch
) -> None:
    """That nothing is wrong with the run before it would be taken for a verdict on it."""
    recorded(*runs(25, BASE), run(25, MORE), run(26, BASE))
    Journal(str(place), tmp_path / "state" / "nilometer").keep(run(27, MORE))

    def full(*_: object) -> None:
        raise StoreError("no room", slug="store-full")

    monkeypatch.setattr(History, "append", full)
    latest, named, earlier = (
        gate("check"),
        gate("check", "--run", "r26"),
        gate("check", "--run", "r25"),
    )

    why = "runs were left over, and cannot be recorded: no room [store-full]"
    assert latest.stdout.splitlines() == [
        "unknown: run r26 of shop",
        f"  because {why}; this is the latest that can be judged",
    ]
    assert named.stdout.splitlines()[0] == "pass: run r26 of shop"
    assert earlier.stdout.splitlines()[0] == "warn: run r25 of shop"
    assert all(f"nilometer: {why}" in one.stderr for one in (latest, named, earlier))
