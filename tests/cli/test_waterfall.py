"""Drawn traces: any tree, any width, every line fits, and every bar stays in its cells."""

from __future__ import annotations

from io import StringIO
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from nilometer.cli.waterfall import BAR_CELLS, EIGHTHS, SPANS_MAX, bar, draw, headline, walk
from nilometer.model.units import duration, moment, quantity
from tests.cli.fake_collector import node, trace

TIMES = st.integers(-(2**70), 2**70)
NAMES = st.text(max_size=90)


def spans(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        node,
        NAMES,
        service=NAMES,
        started_ns=TIMES,
        duration_ns=TIMES,
        self_ns=TIMES,
        status=st.sampled_from(["unset", "ok", "error"]),
        status_message=NAMES,
        orphan=st.booleans(),
        attributes=st.dictionaries(
            st.sampled_from(["url.path", "http.route", "error.type", "x"]),
            NAMES | st.integers() | st.booleans() | st.floats(),
        ),
        children=children,
    )


TREES = st.recursive(
    spans(st.just([])), lambda below: spans(st.lists(below, max_size=4)), max_leaves=20
)
TRACES = st.builds(
    lambda roots, started, lasts: trace(*roots, started_ns=started, duration_ns=lasts),
    st.lists(TREES, max_size=3),
    TIMES,
    TIMES,
)


def drawn(told: dict[str, Any], width: int) -> list[str]:
    screen = Console(file=StringIO(), width=width, highlight=False, color_system=None)
    screen.print(draw(told, width))
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue().splitlines()


@settings(max_examples=200, deadline=None)
@given(TRACES, st.integers(1, 200))
def test_any_tree_at_any_width_fits_its_lines_and_obeys_nothing(
    told: dict[str, Any], width: int
) -> None:
    lines = drawn(told, width)

    assert max(map(cell_len, lines), default=0) <= width
    assert "".join(lines).isprintable()
    assert headline(told).plain.isprintable()


@given(TIMES, TIMES, TIMES, TIMES, st.integers(0, 80))
def test_a_bar_is_visible_and_stays_within_its_cells(
    start: int, lasts: int, began: int, whole: int, cells: int
) -> None:
    one = bar(
        {"started_ns": start, "duration_ns": lasts},
        {"started_ns": began, "duration_ns": whole},
        cells,
    )

    assert len(one) <= cells
    assert set(one) <= set(EIGHTHS)
    assert bool(one.strip()) is bool(cells)


def test_what_a_narrow_terminal_leaves_out_goes_in_the_order_of_what_it_says() -> None:
    root = node(
        "GET /orders/{number}",
        duration_ns=2_500_000,
        attributes={"http.response.status_code": 200, "url.path": "/orders/7"},
        children=[node("SELECT", started_ns=1_000_000, duration_ns=500_000, status="error")],
    )
    told = trace(root, duration_ns=2_500_000, spans=2)
    bars = "██████████████████████████"

    assert [line.rstrip() for line in drawn(told, 110)] == [
        " span                  service       at     time    self",
        f" GET /orders/{{number}}  shop        0 ns  2.50 ms  100 ns  {bars}██  /orders/7 200",
        " └─ SELECT             shop     1.00 ms   500 us  100 ns             █████▌",
    ]
    assert [line.rstrip() for line in drawn(told, 86)] == [
        " span                  service       at     time    self",
        f" GET /orders/{{number}}  shop        0 ns  2.50 ms  100 ns  {bars}█",
        " └─ SELECT             shop     1.00 ms   500 us  100 ns            █████▍",
    ]
    assert [line.rstrip() for line in drawn(told, 41)] == [
        " span                  service     time",
        " GET /orders/{number}  shop     2.50 ms",
        " └─ SELECT             shop      500 us",
    ]


def test_one_span_is_no_plural() -> None:
    for spans, told in ((0, "0 spans"), (1, "1 span"), (2, "2 spans"), (1000, "1,000 spans")):
        assert headline(trace(spans=spans)).plain.endswith(f"  {told}")


def test_times_are_never_cut() -> None:
    told = trace(node("n" * 70, service="s" * 70, duration_ns=123_456_789))

    for width in range(40, 120):
        assert "123 ms" in drawn(told, width)[1]


def test_a_chain_of_ten_thousand_is_walked_without_recursion_and_drawn_by_its_depth() -> None:
    deep = node("s9999")
    for number in range(9998, -1, -1):
        deep = node(f"s{number}", children=[deep])
    lines = drawn(trace(deep, spans=10_000), 100)

    assert [one["name"] for _, one in walk([deep])][9999] == "s9999"
    assert "  499 deep └─ s499" in lines[SPANS_MAX]
    assert "... 9,500 more; see --json" in lines[SPANS_MAX + 1]


def test_numbers_that_nobody_measured_are_not_written_as_if() -> None:
    assert (moment(10**40), moment(-1), duration(10**400)) == ("-beyond-",) * 3
    assert quantity(10**400, "By") == "1e+308 By"
    assert bar(node("x"), trace()) == "█" * BAR_CELLS
