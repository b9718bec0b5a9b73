"""Verdicts in every format: what they say, when they are silent, and that text stays text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.cli.gate_check import FORMATS as OFFERED
from nilometer.gate.attribution import Place
from nilometer.gate.reports import FORMATS
from nilometer.gate.reports.markdown import code, marker, nothing
from nilometer.gate.verdict import Outcome, Verdict, judge
from nilometer.model.run import BackendRead, Count
from tests.gate.histories import run, runs
from tests.gate.test_attribution import shop_run

ALARM = judge(
    shop_run(60, 80)._replace(attributes={"command": "pytest tests"}),
    [shop_run(at, 40) for at in range(60)],
    may_fail=True,
)
QUIET = judge(run(30, {"Com_select": 800}), runs(30, {"Com_select": 800}))
UNKNOWN = judge(run(3, {"Com_select": 800}), runs(3, {"Com_select": 800}))


def hostile(text: str, *, earlier: int = 60) -> Verdict:
    """A verdict in which all that comes from outside is this text."""
    dims = tuple(sorted({"digest": text, "test": f"{text}.py::{text}"}.items()))

    def one(number: int, calls: int) -> Any:
        parts = [Count("b" + text, "c" + text, calls, dims)]
        plain = run(number, {}, parts=parts, suite=text, revision=text, branch=text)
        return plain._replace(
            id=f"{text}{number}",
            counts=(Count("b" + text, "c" + text, 800 + calls), *parts),
            backends=(BackendRead("b" + text), BackendRead("gone", because=text)),
            attributes={"command": text},
        )

    return judge(one(earlier, 80), [one(at, 40) for at in range(earlier)], may_fail=True)


HOSTILE = [
    "::error::stop\n::set-output name=x::y",
    "%0A::warning::%25",
    "</td></table><script>alert(1)</script>",
    "```` | @everyone ](http://x) ``` `",
    "--> <!-- nilometer-gate:00000000 -->",
    "]]>\x00\x1b[31m\u202e\ud800\ufffe&lt;",
    "'; rm -rf / #$(x)`x`",
]


# --- What they say ---------------------------------------------------------------------------


def test_the_formats_that_the_command_offers_are_those_that_exist() -> None:
    assert tuple(FORMATS) == OFFERED


def test_a_terminal_gets_the_reason_and_the_parts() -> None:
    assert FORMATS["text"](ALARM).splitlines() == [
        "fail: run r60 of shop",
        (
            "  because mysql:Com_select +40 (+5.0 %): of 1 counters mysql:Com_select is "
            "furthest from its level, by 25.0 scales; in 60 earlier runs the furthest was 0.0; "
            "without a change one run in 61 is so far out; unconfirmed"
        ),
        "  mysql:Com_select +40 (+5.0 %): 840 instead of 800, 25.0 scales; exact over 60 runs",
        (
            "    from db shop, digest SELECT * FROM `lines` WHERE `order_id` = ? "
            "(statement.calls +40 (+100.0 %))"
        ),
        (
            "    from test tests/test_shop.py::test_list (sql.statements +40 (+100.0 %)) "
            "at shop/orders.py:17"
        ),
    ]


def bytes_too(number: int, lines: int):
    """As `shop_run`, and the bytes that the statements take, of which nobody has parts."""
    one = shop_run(number, lines)
    return one._replace(
        counts=(*one.counts, Count("mysql", "Bytes_received", 9000 + 20 * lines))
    )


def test_the_reason_names_the_counter_that_is_so_far_out_whichever_is_told_first() -> None:
    """What has parts is told first, as it says most; the distance may be another's."""
    verdict = judge(bytes_too(60, 80), [bytes_too(at, 40) for at in range(60)], may_fail=True)

    first, second = verdict.findings
    assert (first.key.counter, second.key.counter) == ("Com_select", "Bytes_received")
    assert first.scales < second.scales
    for name in ("text", "markdown", "github", "bug", "junit", "json"):
        because = (
            "of 2 counters mysql:Bytes_received is furthest from its level, by 40.8 scales"
        )
        assert because in FORMATS[name](verdict), name


def test_github_gets_one_annotation_at_the_line_of_code() -> None:
    (line,) = FORMATS["github"](ALARM).splitlines()

    head, _, message = line.partition("::")[2].partition("::")
    assert head == (
        "error file=shop/orders.py,line=17,"
        "title=nilometer fail%3A mysql%3ACom_select +40 (+5.0 %25) in shop"
    )
    assert message.split("%0A")[1].startswith("mysql:Com_select +40 (+5.0 %25)")


def test_the_comment_starts_with_the_mark_of_its_suite() -> None:
    lines = FORMATS["markdown"](ALARM).splitlines()

    assert lines[0] == marker("shop")
    assert lines[6] == (
        "| `mysql:Com_select` | +40 (+5.0 %) | 800 | 840 | "
        "``db shop, digest SELECT * FROM `lines` WHERE `order_id` = ?`` +40 (+100.0 %)<br>"
        "`test tests/test_shop.py::test_list` +40 (+100.0 %) at `shop/orders.py:17` |"
    )


def test_the_mark_tells_suites_apart() -> None:
    assert marker("shop") != marker("shop2")
    assert nothing("shop").startswith(marker("shop"))


def test_junit_fails_only_if_the_verdict_does() -> None:
    suite = ET.fromstring(FORMATS["junit"](ALARM))[0]

    assert suite.attrib == {
        "name": "nilometer gate",
        "tests": "1",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
    }
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == "mysql:Com_select +40 (+5.0 %)"
    warned = ET.fromstring(
        FORMATS["junit"](judge(shop_run(30, 80), [shop_run(a, 40) for a in range(30)]))
    )
    assert (warned.attrib["failures"], warned.find(".//failure")) == ("0", None)
    assert ET.fromstring(FORMATS["junit"](UNKNOWN)).find(".//skipped") is not None


def test_sarif_has_what_its_schema_requires() -> None:
    whole = json.loads(FORMATS["sarif"](ALARM))

    assert whole["version"] == "2.1.0"
    (one,) = whole["runs"]
    assert one["tool"]["driver"]["name"] == "nilometer"
    assert [rule["id"] for rule in one["tool"]["driver"]["rules"]] == ["costs-more"]
    (result,) = one["results"]
    assert (result["ruleId"], result["level"]) == ("costs-more", "error")
    assert result["message"]["text"].startswith("mysql:Com_select +40")
    assert result["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "shop/orders.py"},
                "region": {"startLine": 17},
            }
        }
    ]


def test_sarif_tells_each_place_once_however_many_parts_come_from_it() -> None:
    (finding,) = ALARM.findings
    twice = replace(finding, parts=(*finding.parts, *finding.parts))

    whole = json.loads(FORMATS["sarif"](replace(ALARM, findings=(twice,))))

    (result,) = whole["runs"][0]["results"]
    assert len(result["locations"]) == 1
    assert "relatedLocations" not in result


def test_a_file_in_sarif_has_a_first_line_where_none_is_known() -> None:
    (finding,) = ALARM.findings
    part = finding.parts[0]
    parts = tuple(part._replace(place=Place("shop/app.py", line)) for line in (0, 1))
    findings = (replace(finding, parts=parts),)

    whole = json.loads(FORMATS["sarif"](replace(ALARM, findings=findings)))

    (result,) = whole["runs"][0]["results"]
    (location,) = result["locations"]
    assert location["physicalLocation"]["region"] == {"startLine": 1}
    assert "relatedLocations" not in result  # no two places alike


@pytest.mark.parametrize(("suite", "uri"), [("shop tests", "shop%20tests"), ("", "suite")])
def test_each_result_of_sarif_has_a_place_or_github_refuses_them_all(
    suite: str, uri: str
) -> None:
    (finding,) = ALARM.findings
    placeless = replace(
        ALARM, run=ALARM.run._replace(suite=suite), findings=(replace(finding, parts=()),)
    )

    (result,) = json.loads(FORMATS["sarif"](placeless))["runs"][0]["results"]

    (location,) = result["locations"]
    assert location["physicalLocation"]["artifactLocation"] == {"uri": uri}


def test_sarif_without_a_finding_closes_old_alerts() -> None:
    assert json.loads(FORMATS["sarif"](QUIET))["runs"][0]["results"] == []


def test_a_bug_report_has_title_evidence_change_and_how_to_reproduce() -> None:
    text = FORMATS["bug"](ALARM)

    assert text.splitlines()[0] == "mysql:Com_select +40 (+5.0 %) in shop"
    assert re.findall(r"\n\n(.+)\n-+\n", text) == [
        "Evidence",
        "Likely change",
        "How to reproduce",
    ]
    for told in (
        "code that the moved parts come from: shop/orders.py:17",
        "git log rev59..rev60",
        "nilometer measure --suite shop -- pytest tests",
        "nilometer measure --against rev59 -- pytest tests",
    ):
        assert told in text


def test_what_was_measured_with_flags_is_reproduced_with_them() -> None:
    """Else other backends would be read, and judged by another history."""
    told = {"command": "true", "flags": "-b mysql --idle 0s", "flags.history": "--history kept"}
    verdict = judge(
        shop_run(60, 80)._replace(attributes=told), [shop_run(at, 40) for at in range(60)]
    )

    text = FORMATS["bug"](verdict)

    assert [line.strip() for line in text.splitlines() if "    nilometer" in line] == [
        "nilometer measure -b mysql --idle 0s --history kept --suite shop -- true",
        "nilometer gate check --history kept --suite shop",
        "nilometer measure -b mysql --idle 0s --against rev59 -- true",
    ]


def section(text: str, heading: str) -> list[str]:
    return (
        text.partition(f"\n\n{heading}\n{'-' * len(heading)}\n")[2].split("\n\n")[0].split("\n")
    )


def test_a_bug_report_of_what_was_not_committed_checks_out_nothing() -> None:
    """The revision alone lacks it; the run before it is of the same revision, as committed."""
    told = {"command": "pytest tests", "vcs.dirty": True}
    verdict = judge(
        shop_run(60, 80)._replace(attributes=told, revision="rev59"),
        [shop_run(at, 40) for at in range(60)],
    )

    text = FORMATS["bug"](verdict)

    assert section(text, "Likely change")[1:] == [
        "- in what this run's files had that rev59 has not: not committed"
    ]
    assert section(text, "How to reproduce") == [
        "With the files that the run measured, rev59 and what was not committed:",
        "    nilometer measure --suite shop -- pytest tests",
        "    nilometer gate check --suite shop",
    ]
    assert "nilometer measure --against rev59 -- pytest tests" in text
    assert "git checkout" not in text


def test_json_has_everything() -> None:
    told = json.loads(FORMATS["json"](ALARM))

    assert (told["outcome"], told["runs"], told["confirmed"]) == ("fail", 60, None)
    assert told["false_alarm_rate"] == pytest.approx(1 / 61)
    (finding,) = told["findings"]
    assert finding["bound"] == {
        "upper": 800,
        "because": "the same in 60 runs: 95.1% of runs are",
    }
    assert finding["parts"][1]["file"] == "shop/orders.py"
    assert finding["standing"]["class"] == "exact"


# --- Silence ---------------------------------------------------------------------------------


def test_where_nothing_is_wrong_nobody_is_bothered() -> None:
    told = {name: writer(QUIET) for name, writer in FORMATS.items()}

    assert {name for name, text in told.items() if not text} == {"markdown", "github", "bug"}
    assert told["text"].splitlines()[0] == "pass: run r30 of shop"


def test_what_is_not_known_is_told_and_is_no_warning() -> None:
    told = {name: writer(UNKNOWN) for name, writer in FORMATS.items()}

    assert told["github"].startswith("::notice title=nilometer unknown%3A")
    assert "3 earlier runs to compare with" in told["markdown"]
    assert told["bug"] == ""


def test_advice_is_a_notice() -> None:
    advice = judge(shop_run(9, 80), [shop_run(at, 40) for at in range(9)])

    assert advice.outcome is Outcome.PASS
    assert FORMATS["github"](advice).startswith("::notice file=shop/orders.py,line=17,")
    assert "**nilometer: advice**" in FORMATS["markdown"](advice)


# --- Text stays text -------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_in_every_format(text: str) -> None:
    verdict = hostile(text)
    assert verdict.findings
    told = {name: writer(verdict) for name, writer in FORMATS.items()}

    for name, written in told.items():
        written.encode()
        bare = written.replace("\n", "")
        assert bare.isprintable(), name
    assert len(told["github"].splitlines()) == 1
    assert told["github"].count("::") >= 2
    ET.fromstring(told["junit"])
    assert json.loads(told["json"])["run"]["suite"] == text
    assert json.loads(told["sarif"])["runs"][0]["results"]
    assert_only_code_is_foreign(told["markdown"])


def assert_only_code_is_foreign(written: str) -> None:
    """Without its code spans, as GitHub finds them, the comment is only what we wrote."""
    bare = re.sub(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", "CODE", written)
    first, *rest = bare.splitlines()
    assert re.fullmatch(r"<!-- nilometer-gate:[0-9a-f]{8} -->", first)
    ours = "<br>", "<details>", "<summary>", "</summary>", "</details>"
    for tag in re.findall(r"<[^>]*>?", "\n".join(rest)):
        assert tag in ours
    assert not re.search(r"[@\[\]`]|script|everyone|http|rm -rf", "\n".join(rest))
    rows = [line for line in rest if line.startswith("|")]
    assert {re.sub(r"\\\|", "", row).count("|") for row in rows} == {6}


@given(st.text(max_size=60))
def test_a_code_span_holds_any_text(text: str) -> None:
    span = code(text)

    fence = re.match("`+", span)
    assert fence is not None
    assert span.endswith(fence[0])
    inner = span[len(fence[0]) : -len(fence[0])]
    assert fence[0] not in re.findall("`+", inner)
    assert "\n" not in span


@given(st.text(max_size=40))
def test_any_text_gives_one_annotation_and_legal_xml(text: str) -> None:
    verdict = hostile(text, earlier=6)

    assert len(FORMATS["github"](verdict).splitlines()) == 1
    ET.fromstring(FORMATS["junit"](verdict))
    json.loads(FORMATS["sarif"](verdict).encode())
