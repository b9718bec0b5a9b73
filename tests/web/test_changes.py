"""Laws of the pages about changes: the gate's own verdicts, and what is accepted from them."""

from __future__ import annotations

import re
from shutil import copytree
from threading import Event

import pytest

from nilometer.gate import chosen
from nilometer.gate.accepting import acceptance
from nilometer.gate.chosen import choose, verdict_on
from nilometer.gate.rank import learn
from nilometer.gate.reports.json import document, learned_document
from nilometer.model.run import Accepted, Count
from nilometer.store.query import Reader
from nilometer.store.runs import History
from nilometer.web import changes, judging, login
from tests.gate.histories import run
from tests.gate.test_attribution import shop_run
from tests.web.pages import asking
from tests.web.test_login import HERE, log_in, talk_to

SHOP = [*[shop_run(at, 40) for at in range(25)], shop_run(25, 80)]
SELECT = "mysql:Com_select"
HOSTILE = "<script>alert(1)</script>"


def record(place, *runs):
    history = History(place, durability="os")
    for one in runs:
        history.append(one)
    history.close()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A store with 25 runs that did the same, and one with 40 selects more."""
    place = tmp_path_factory.mktemp("runs") / "store"
    record(place, *SHOP)
    return place


@pytest.fixture
def place(recorded, tmp_path):
    """A copy of it."""
    copytree(recorded, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture(scope="module")
def shop(recorded):
    with asking(recorded) as ask:
        assert ask("/changes", format="json").status_code == 200  # the thread that judges lives
        yield ask


def test_the_verdict_of_a_run_is_the_gate_s(shop):
    told = shop("/changes/run", suite="shop", run="r25", format="json").json()

    _, verdict = verdict_on(lambda _: choose(SHOP, [], "r25", "shop"))
    assert told["verdict"] == document(verdict)
    assert verdict.outcome.value == "warn"


def test_the_counters_are_what_the_gate_learned(shop):
    told = shop("/changes/counters", suite="shop", format="json").json()

    assert told == learned_document(learn(SHOP))


def test_a_suite_is_listed_with_what_moved_most_in_its_latest_run(shop):
    (told,) = shop("/changes", format="json").json()["suites"]

    assert (told["suite"], told["runs"], told["run"], told["standing"], told["moved"]) == (
        *("shop", 26, "r25", "warn"),
        f"{SELECT} +40 (+5.0 %)",
    )


def test_every_run_of_a_suite_has_its_verdict_newest_first(shop):
    told = shop("/changes/runs", suite="shop", runs=3, format="json").json()["runs"]

    assert [(one["run"], one["verdict"]["outcome"]) for one in told] == [
        ("r25", "warn"),
        ("r24", "pass"),
        ("r23", "pass"),
    ]


def test_what_costs_more_is_put_down_to_its_digest_test_and_line(shop):
    page = shop("/changes/run", suite="shop").text

    for told in ("SELECT * FROM `lines`", "shop/orders.py:17", "+40", "exact: 25 runs"):
        assert told in page


def test_each_counter_of_a_run_is_beside_its_bound_the_worst_first(tmp_path):
    steady = {"a": 100, "b": 200, "c": 300}
    record(tmp_path, *[run(at, steady) for at in range(25)], run(25, {**steady, "b": 202}))
    with asking(tmp_path) as ask:
        told = ask("/changes/run", suite="shop", format="json").json()["counters"]

    assert [(one["counter"], one["value"], one["bound"]["upper"]) for one in told] == [
        ("b", 202, 200),
        ("a", 100, 100),
        ("c", 300, 300),
    ]


def test_of_very_many_counters_the_first_are_shown_and_the_data_have_all(tmp_path, monkeypatch):
    monkeypatch.setattr(changes, "COUNTERS_MAX", 2)
    record(tmp_path, *[run(at, {"a": 100, "b": 200, "c": 300}) for at in range(25)])
    with asking(tmp_path) as ask:
        data = ask("/changes/counters", suite="shop", format="json").json()["counters"]
        page = ask("/changes/counters", suite="shop").text
        sheet = ask("/changes/counters", suite="shop", format="csv").text

    shown = re.findall(r'<th scope="row" class="name"><a [^>]*>mysql:(.)</a>', page)
    assert shown == [one["counter"] for one in data[:2]]
    assert "of 3 these 2 are the first" in page
    assert (len(data), len(sheet.splitlines())) == (3, 4)


def test_a_counter_s_course_tells_where_it_stepped_and_who_accepted_that(tmp_path):
    levels = [10] * 10 + [20] * 10 + [30] * 10
    record(tmp_path, *[run(at, {"a": level * 10}) for at, level in enumerate(levels)])
    history = History(tmp_path, durability="os")
    history.accept(Accepted("shop", "r10", 5, "twice the work", "ann", ("mysql:a",)))
    history.close()
    with asking(tmp_path) as ask:
        told = ask("/changes/counter", suite="shop", counter="mysql:a", format="json").json()
        page = ask("/changes/counter", suite="shop", counter="mysql:a").text

    assert [one["level"] for one in told["levels"]] == [100, 200, 300]
    assert [(one["place"], one["reason"]) for one in told["accepted"]] == [
        (10, "twice the work")
    ]
    assert [(one["run"], one["alarms"]) for one in told["steps"]] == [("r20", True)]
    assert "Step that alarms" in page
    assert "by ann" in page


@pytest.mark.parametrize(
    ("form", "counters"),
    [({"counter": SELECT}, (SELECT,)), ({}, (SELECT,)), ({"all": "yes"}, ())],
)
def test_a_form_records_what_the_command_records(place, form, counters):
    told = {"suite": "shop", "run": "r25", "reason": " a row more ", "by": "ann", **form}
    with asking(place) as ask:
        answer = ask("/changes/accept", method="POST", data=told)
        after = ask("/changes/run", suite="shop", run="r25", format="json").json()

    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/changes/run?run=r25&suite=shop",
    )
    history = History(place)
    (accepted,) = history.accepted("shop")
    history.close()
    expected = acceptance(
        choose(SHOP, [], "r25", "shop"),
        [form["counter"]] if "counter" in form else [],
        everything="all" in form,
        reason=" a row more ",
        by="ann",
        at_ns=accepted.at_ns,
    )
    assert accepted == expected
    assert accepted.counters == counters
    assert after["verdict"]["outcome"] == "unknown"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Cookie": "a=b"},
    ],
)
def test_no_page_of_another_origin_accepts_anything(place, headers):
    form = {"suite": "shop", "run": "r25", "reason": "x", "all": "yes"}
    with asking(place) as ask:
        answer = ask("/changes/accept", method="POST", data=form, headers=headers)

    history = History(place)
    assert (answer.status_code, history.accepted()) == (403, [])
    history.close()


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({"reason": "  "}, 422, "say why"),
        ({"reason": "x" * 5000}, 422, "4,096 are the most"),
        ({"counter": "mysql:Com_selct"}, 422, f"did you mean {SELECT}?"),
        ({"run": "r1"}, 422, "nothing moved in run r1"),
        ({"run": "zz"}, 404, "the latest are r23, r24, r25"),
        ({"suite": "shops"}, 404, "no suite"),
        ({"all": "yes", "counter": SELECT}, 422, "leave one out"),
        ({"boxes": "shown"}, 422, "no counter is ticked; go back and choose one"),
        ({"by": "n" * 300}, 422, "at most 200 characters"),
        ({"reason": "x" * 300_000}, 413, "262,144 bytes"),
    ],
)
def test_what_cannot_be_accepted_is_refused_with_what_to_do(shop, form, status, said):
    told = {"suite": "shop", "run": "r25", "reason": "x", **form}

    answer = shop("/changes/accept", method="POST", data=told)

    assert answer.status_code == status
    assert said in answer.text


@pytest.mark.parametrize(
    ("path", "asked", "status", "said"),
    [
        ("run", {"suite": "shop", "run": "zz"}, 404, "the latest are r23, r24, r25"),
        ("run", {"suite": "shop", "run": "r"}, 422, "26 runs of"),
        ("runs", {"suite": "shpo"}, 422, "did you mean"),
        ("counter", {"suite": "shop", "counter": "x"}, 404, "no counter"),
        ("counters", {"suite": "shop", "stability": "exat"}, 422, "did you mean"),
        ("runs", {"suite": "shop", "rnus": "3"}, 422, "did you mean"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(shop, path, asked, status, said):
    page = shop(f"/changes/{path}", **asked)

    assert page.status_code == status
    assert said in page.text


def test_a_store_without_runs_says_how_they_come(tmp_path):
    with asking(tmp_path / "store") as ask:
        page = ask("/changes").text
        missing = ask("/changes/runs", suite="shop")

    assert f"nilometer measure --history {tmp_path / 'store'}" in page
    assert missing.status_code == 404


@pytest.mark.parametrize("is_whole", [True, False], ids=["all of it", "a file of it"])
def test_a_history_that_cannot_be_read_is_not_shown_as_none(tmp_path, is_whole):
    record(tmp_path, run(0, {"a": 1}))
    (bad,) = (tmp_path / "runs").glob("**/*.parquet")
    if not is_whole:
        record(tmp_path, run(1, {"a": 1}, suite="other"))
    with asking(tmp_path) as ask:
        bad.write_bytes(b"no table")
        told = ask("/changes", format="json").json()
        page = ask("/changes").text
        of_suite = ask("/changes/run", suite="shop", format="json")
    reader = Reader(tmp_path)
    reader.history().suites()
    broken = reader.broken()
    reader.close()

    assert [one["suite"] for one in told["suites"]] == ([] if is_whole else ["other"])
    assert [bad.name in why for why in told["lost"]] == [True]
    assert bad.name in page
    assert "no measured runs here yet" not in page
    assert of_suite.status_code == (503 if is_whole else 422)
    assert [(one.table, bad.name in one.path) for one in broken] == [("runs", True)]


def test_hostile_names_reasons_and_statements_stay_text(tmp_path):
    parts = [Count("mysql", "statement.calls", 40, (("digest", HOSTILE),))]
    told = {"suite": HOSTILE, "revision": HOSTILE, "branch": HOSTILE}
    record(
        tmp_path,
        *[run(at, {HOSTILE: 800}, parts=parts, **told) for at in range(25)],
        run(25, {HOSTILE: 900}, parts=[parts[0]._replace(delta=140)], **told),
    )
    history = History(tmp_path, durability="os")
    history.accept(Accepted(HOSTILE, "r3", 1, HOSTILE, HOSTILE))
    history.close()
    name = f"mysql:{HOSTILE}"
    with asking(tmp_path) as ask:
        pages = [
            ask("/changes").text,
            ask("/changes/runs", suite=HOSTILE).text,
            ask("/changes/run", suite=HOSTILE).text,
            ask("/changes/counters", suite=HOSTILE).text,
            ask("/changes/counter", suite=HOSTILE, counter=name).text,
        ]

    assert all("&lt;script&gt;alert(1)" in page for page in pages)
    assert not any(HOSTILE in page for page in pages)


def test_a_page_waits_for_no_verdict_and_shows_it_when_it_is_there(place, monkeypatch):
    going = Event()

    def slowly(*asked, **named):
        assert going.wait(30)
        return verdict_on(*asked, **named)

    monkeypatch.setattr(judging, "verdict_on", slowly)
    with asking(place) as ask:
        first = ask("/changes")
        going.set()
        whole = ask("/changes", format="json").json()["suites"]
        then = ask("/changes").text

    assert first.status_code == 200
    assert "being judged" in first.text
    assert whole[0]["outcome"] == "warn"
    assert "being judged" not in then


def test_a_history_is_judged_once_for_each_state_of_it(place, monkeypatch):
    judged = []

    def counting(*asked, **named):
        judged.append(1)
        return verdict_on(*asked, **named)

    monkeypatch.setattr(judging, "verdict_on", counting)
    with asking(place) as ask:
        first = [ask("/changes", format="json").json()["suites"][0] for _ in range(3)]
        times = len(judged)
        record(place, shop_run(26, 40))
        after = ask("/changes", format="json").json()["suites"][0]

    assert times == 1
    assert [one["run"] for one in first] == ["r25"] * 3
    assert (len(judged), after["run"], after["outcome"]) == (2, "r26", "pass")


def test_branches_choose_the_runs_that_a_run_is_compared_with(tmp_path):
    main = [run(at, {"a": 800}, branch="main") for at in range(25)]
    other = [run(25 + at, {"a": 900}, branch="pr") for at in range(8)]
    record(tmp_path, *main, *other, run(40, {"a": 900}, branch="main"))
    with asking(tmp_path) as ask:
        told = ask("/changes/run", suite="shop", branch="main", format="json").json()

    assert (told["verdict"]["runs"], told["verdict"]["outcome"]) == (25, "warn")


def test_more_runs_are_read_where_few_of_the_latest_take_part(tmp_path, monkeypatch):
    for name, number in {"RUNS_MAX": 10, "READ_MAX": 40, "ENOUGH": 8}.items():
        monkeypatch.setattr(chosen, name, number)
    main = [run(at, {"a": 800}, branch="main") for at in range(20)]
    other = [run(20 + at, {"a": 900}, branch="pr") for at in range(9)]
    record(tmp_path, *main, *other, run(40, {"a": 900}, branch="main"))
    with asking(tmp_path) as ask:
        told = ask("/changes/run", suite="shop", branch="main", format="json").json()

    assert told["verdict"]["runs"] == 20


def test_what_a_change_is_put_down_to_is_left_out_where_it_is_too_much(
    shop, place, monkeypatch
):
    whole = shop("/changes/run", suite="shop", format="json").json()["verdict"]
    monkeypatch.setattr(judging, "ROWS_MAX", 10)

    with asking(place) as ask:
        told = ask("/changes/run", suite="shop", format="json").json()["verdict"]
        page = ask("/changes/run", suite="shop").text

    assert [one["parts"] for one in told["findings"]] == [[]]
    assert len(whole["findings"][0]["parts"]) == 2
    assert told["because"] == whole["because"]
    assert "nilometer gate check --run r25" in page


def test_a_list_names_the_same_counter_first_as_the_run_s_own_page(tmp_path):
    """That one which can be put down to something, though another is further off."""

    def one(at, more):
        made = shop_run(at, 80 if more else 40)
        other = Count("mysql", "Handler_read_key", 9_000_000 if more else 4_000_000)
        return made._replace(counts=(*made.counts, other))

    record(tmp_path, *[one(at, more=False) for at in range(25)], one(25, more=True))
    with asking(tmp_path) as ask:
        (listed,) = ask("/changes", format="json").json()["suites"]
        told = ask("/changes/run", suite="shop", format="json").json()["verdict"]

    assert (listed["because"], listed["moved"]) == (told["because"], f"{SELECT} +40 (+5.0 %)")


def test_a_run_after_which_others_are_lost_is_not_told_to_be_the_last(place):
    known = set((place / "runs").rglob("*.parquet"))
    record(place, shop_run(26, 40))
    (lost,) = set((place / "runs").rglob("*.parquet")) - known
    record(place, shop_run(0, 40)._replace(suite="other"))
    lost.write_bytes(lost.read_bytes()[:50])
    with asking(place) as ask:
        _, listed = ask("/changes", format="json").json()["suites"]
        told = ask("/changes/run", suite="shop", format="json").json()["verdict"]
        page = ask("/changes/runs", suite="shop").text

    assert listed["run"] == told["run"]["id"] == "r25"
    assert "this is the latest that can be judged" in told["notes"][0]
    assert f"{lost.name} of the history" in page


def test_where_there_are_tokens_only_a_session_s_own_page_accepts(place, monkeypatch):
    monkeypatch.setattr(login, "WRONG_S", 0.0)
    form = {"suite": "shop", "run": "r25", "reason": "x", "all": "yes"}

    async def talk(client):
        async def accept(**headers):
            answer = await client.post("/changes/accept", data=form, headers=headers)
            return answer.status_code

        before = await accept(**HERE)
        await log_in(client)
        return before, await accept(origin="http://evil.example"), await accept(**HERE)

    told = talk_to(place, talk)

    history = History(place)
    assert (told, [one.reason for one in history.accepted()]) == ((401, 403, 303), ["x"])
    history.close()


def test_two_runs_of_one_id_take_no_list_along(place):
    record(place, shop_run(25, 40))
    with asking(place) as ask:
        (listed,) = ask("/changes", format="json").json()["suites"]
        told = ask("/changes/runs", suite="shop", runs=3, format="json").json()["runs"]
        page = ask("/changes/run", suite="shop", run="r25")

    assert (listed["outcome"], page.status_code) == ("unknown", 422)
    assert listed["because"].startswith("2 runs of 'shop' begin with 'r25'")
    assert [one["verdict"]["outcome"] for one in told] == ["unknown", "unknown", "pass"]
