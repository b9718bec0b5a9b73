"""Laws of the doctor's page: what runs, what was lost and why, what it costs, what to do."""

from __future__ import annotations

import csv
import io
from collections import Counter

import pytest

from nilometer.clock import Clock
from nilometer.model import Batch, Kind, Resource
from nilometer.model.loss import Loss
from nilometer.web import doctor
from tests.web.pages import HEALTH, asking
from tests.web.test_services import BATCHES, HOSTILE, NOW, S, reading

REFUSED = reading(
    "nilometer.collector.rejected", Kind.COUNTER, 3, -5, door="rest", reason="parameter"
)
ODD = reading("nilometer.lost", Kind.COUNTER, 1, -5, what=HOSTILE, reason=HOSTILE)
FURTHER = (Batch(Resource("nilometer-collector", "c9", 9), (REFUSED, ODD), ()),)


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    clock = Clock(wall_ns=lambda: NOW)
    store = tmp_path_factory.mktemp("store")
    with asking(store, (*BATCHES, *FURTHER), clock=clock) as ask:
        yield ask


def test_what_was_lost_is_told_with_its_reason_and_what_to_do_the_harmless_last(ask):
    losses = ask("/doctor", format="json").json()["losses"]

    told = [(one["service"], one["count"], one["wants_a_person"]) for one in losses]
    assert told == [
        ("orders", 7, True),
        ("nilometer-collector", 1, True),
        ("nilometer-collector", 3, False),
    ]
    assert losses[0]["advice"].startswith("More spans ended than were sent")


def test_what_measuring_cost_is_told_by_service_and_request(ask):
    told = ask("/doctor", format="json").json()["overhead"]

    assert told == [
        {
            "service": "orders",
            "recording_ns": 16_000,
            "export_ns": 24_000,
            "requests": 8,
            "per_request_ns": 5000.0,
        }
    ]


def test_the_sheet_has_all_parts_of_the_page(ask):
    rows = list(csv.DictReader(io.StringIO(ask("/doctor", format="csv").text)))

    data = ask("/doctor", format="json").json()
    parts = Counter(row["part"] for row in rows)
    by_part = {row["part"]: row for row in reversed(rows)}
    assert parts["next"] == len(data["next"]) > 0
    assert parts["losses"] == len(data["losses"]) > 0
    assert parts["services"] == len(data["services"]) > 0
    assert parts["overhead"] == len(data["overhead"]) > 0
    assert by_part["losses"]["count"] == "7"
    assert by_part["overhead"]["avg_ns"] == "5000.0"
    assert ("health", "status", "ok") in [
        (row["part"], row["name"], row["what_and_why"]) for row in rows
    ]


def test_a_service_that_went_silent_is_something_to_do(ask):
    steps = ask("/doctor", since="2h", format="json").json()["next"]

    assert [one["because"].startswith(HOSTILE) for one in steps] == [True, False, False]


def test_of_very_many_losses_the_gravest_are_shown_and_the_data_have_all(ask, monkeypatch):
    monkeypatch.setattr(doctor, "LOSSES_MAX", 1)
    monkeypatch.setattr(doctor, "STEPS_MAX", 1)

    page = ask("/doctor").text
    data = ask("/doctor", format="json").json()
    rows = list(csv.DictReader(io.StringIO(ask("/doctor", format="csv").text)))

    steps, _, rest = page.partition("<h2>What runs</h2>")
    table = rest.partition("losses-caption")[2].partition("</table>")[0]
    assert (steps.count("because "), table.count("<tr>")) == (1, 2)  # with the heading
    assert "The most urgent 1 of 2" in steps
    assert "of 3 kinds these 1 are the gravest" in table
    assert (len(data["losses"]), len(data["next"])) == (3, 2)
    assert Counter(row["part"] for row in rows)["losses"] == 3


def test_hostile_reasons_stay_text(ask):
    page = ask("/doctor", since="2h").text

    assert "<script>alert" not in page
    assert "\u202e" not in page


def test_nothing_to_do_is_said_so(tmp_path):
    calm = Batch(Resource("calm", "c", 1), (reading("sold", Kind.COUNTER, 1, -5),), ())

    with asking(tmp_path, [calm], clock=Clock(wall_ns=lambda: NOW)) as ask:
        answer = ask("/doctor")

    assert "Nothing: all is well" in answer.text
    assert HEALTH["version"] in answer.text


@pytest.mark.parametrize(
    ("loss", "begins"),
    [
        (Loss("s", "nilometer.lost", {"reason": "buffer_full"}, 1), "The exporter's receiver"),
        (Loss("s", "nilometer.lost", {"reason": "odd"}, 1), "Look at the reason"),
        (Loss("s", "nilometer.collector.clamped", {"kind": "spans"}, 1), "A sender's clock"),
        (Loss("s", "nilometer.collector.duplicates", {"kind": "spans"}, 1), "Nothing"),
        (Loss("s", "nilometer.collector.rejected", {"door": "rest"}, 1), "Nothing"),
    ],
)
def test_each_loss_has_an_advice(loss, begins):
    assert loss.advice.startswith(begins)


def test_the_time_that_is_shown_is_that_asked_for(ask):
    told = ask("/doctor", since="30m", format="json").json()

    assert (told["since_ns"], told["until_ns"]) == (NOW - 1800 * S, NOW)
