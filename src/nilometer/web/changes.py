"""Changes: what each suite of measured runs costs, against what its history explains.

Verdicts are the gate's, as `nilometer gate check` tells them; a step is accepted as by
`nilometer gate accept`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from nilometer.api.parameters import Text  # noqa: TC001 - FastAPI reads annotations
from nilometer.api.problems import Refusal, missing, not_a_choice, unusable
from nilometer.gate.chosen import LAST, NoSuchRunError
from nilometer.web import changes_form
from nilometer.web.course_plot import events, plot_of
from nilometer.web.drawing import Page
from nilometer.web.form import refusal
from nilometer.web.judging import ANSWER_S_MAX, Judging, made
from nilometer.web.sheet import Sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.web.judging import Suite, Told
    from nilometer.web.parts import Parts

PATIENCE_S: Final = 0.1
"""So long a page waits for verdicts; what is not there by then it shows when it is."""

SUITES_MAX: Final = 50  # judged for one page
RUNS: Final = 20
RUNS_MAX: Final = 100
COUNTERS_MAX: Final = 400  # on a page, in 300 kB; its data have all

CLASSES: Final = ("exact", "stable", "noisy", "excluded")

Number = Annotated[int, Query(ge=1, le=RUNS_MAX)]


def router(parts: Parts) -> APIRouter:
    """The routes of /changes."""
    routes = APIRouter()
    judging = Judging(parts.reader, parts.clock)
    parts.queries.at_close(judging.close)
    _add_lists(routes, parts, judging)
    _add_counters(routes, parts, judging)
    _add_details(routes, parts, judging)
    changes_form.add(routes, parts, judging)
    return routes


def _add_lists(routes: APIRouter, parts: Parts, judging: Judging) -> None:
    @routes.get("/changes")
    async def changes(request: Request) -> Response:
        """Each suite with the verdict on its latest run."""
        suites = await parts.queries.run("/changes", judging.suites)
        lost = judging.unread()
        judged = suites[:SUITES_MAX]
        asked = [judging.brief(one, one.summary.run_id, ()) for one in judged]
        verdicts = await made(asked, patience_of(request))
        rows = [_row(one, said) for one, said in zip(judged, verdicts, strict=True)]
        more = len(suites) - len(judged)
        place = parts.reader.history().place.url
        shown = {"rows": rows, "more": more, "place": place, "lost": lost}
        data = {"suites": rows, "lost": lost}
        columns = ("suite", "runs", "run", "revision", "branch", "standing", "moved", "because")
        cells = [[one[name] for name in columns] for one in rows]
        page = Page("changes.html", "Changes", shown, data, Sheet(columns, cells))
        return parts.drawing.answer(request, page)

    @routes.get("/changes/runs")
    async def runs(
        request: Request, suite: Text, branch: Text = "", runs: Number = RUNS
    ) -> Response:
        """The latest runs of a suite with their verdicts."""
        one = await suite_of(parts, judging, suite)
        patience = patience_of(request)
        (latest,) = await made([judging.latest(one, runs)], patience)
        usable = [line for line in latest or [] if line["run"]]
        asked = [judging.brief(one, line["run"], branches_of(branch)) for line in usable]
        said = dict(
            zip((line["run"] for line in usable), await made(asked, patience), strict=True)
        )
        rows = [{**line, "verdict": said.get(line["run"])} for line in latest or []]
        shown = {
            **_of_suite(one, branch, "runs"),
            "rows": rows,
            "number": runs,
            "is_pending": latest is None or any(each is None for each in said.values()),
        }
        columns = ("run", "ended_ns", "revision", "branch", "outcome", "moved", "because")
        cells = [[{**line, **(line["verdict"] or {})}.get(c) for c in columns] for line in rows]
        data = {"suite": suite, "runs": rows}
        page = Page("changes_runs.html", suite, shown, data, Sheet(columns, cells))
        return parts.drawing.answer(request, page)


def _add_counters(routes: APIRouter, parts: Parts, judging: Judging) -> None:
    @routes.get("/changes/counters")
    async def counters(
        request: Request, suite: Text, branch: Text = "", stability: Text = ""
    ) -> Response:
        """What the history says of each counter, the best predictors first."""
        one = await suite_of(parts, judging, suite)
        asked = [judging.learned(one, branches_of(branch))]
        (learned,) = await made(asked, patience_of(request))
        is_pending = learned is None and not asked[0].done()
        found = [] if learned is None else learned["counters"]
        classes = {name: sum(c["class"] == name for c in found) for name in CLASSES}
        if stability and stability not in classes:
            raise not_a_choice("stability", stability, list(classes))
        rows = [c for c in found if stability in ("", c["class"])]
        shown = {
            **_of_suite(one, branch, "counters"),
            "rows": rows[:COUNTERS_MAX],
            "number": len(rows),
            "classes": classes,
            "stability": stability,
            "learned": learned,
            "is_pending": is_pending,
        }
        columns = ("backend", "counter", "class", "runs", "median", "mad", "smallest_change")
        cells = [[*(c[k] for k in columns), _upper(c), c["because"]] for c in rows]
        sheet = Sheet((*columns, "bound", "because"), cells)
        data = None if learned is None else {**learned, "counters": rows}
        page = Page("changes_counters.html", suite, shown, data or {"counters": []}, sheet)
        return parts.drawing.answer(request, page)


def _add_details(routes: APIRouter, parts: Parts, judging: Judging) -> None:
    @routes.get("/changes/run")
    async def run(
        request: Request, suite: Text, run: Text = LAST, branch: Text = ""
    ) -> Response:
        """A run against its bounds, the worst first."""
        one = await suite_of(parts, judging, suite)
        run = one.summary.run_id if run == LAST else run
        asked = [judging.verdict(one, run, branches_of(branch))]
        try:
            (said,) = await made(asked, patience_of(request))
        except NoSuchRunError as error:
            raise _no_run(run, error) from None
        shown = {**_of_suite(one, branch, "runs"), "run_id": run, "said": said}
        shown["counters_max"] = COUNTERS_MAX
        data = said and {"verdict": said["verdict"], "counters": said["counters"]}
        sheet = _sheet_of(said["counters"] if said else [])
        title = f"Run {said['run'] if said else run}"
        page = Page("changes_run.html", title, shown, data or {}, sheet)
        return parts.drawing.answer(request, page)

    @routes.get("/changes/counter")
    async def counter(
        request: Request, suite: Text, counter: Text, branch: Text = ""
    ) -> Response:
        """One counter over all runs: points, levels, steps, bound."""
        one = await suite_of(parts, judging, suite)
        asked = [judging.course(one, counter, branches_of(branch))]
        (course,) = await made(asked, patience_of(request))
        if course is None and asked[0].done():
            raise missing(
                f"no counter {counter!r} in the runs of {suite!r} that can be compared; "
                "its page of counters has all"
            )
        shown = {
            **_of_suite(one, branch, "counters"),
            "counter": counter,
            "course": course,
            "plot": course and plot_of(course),
            "events": events(course) if course else [],
        }
        columns = ("run", "ended_ns", "revision", "branch", "value", "because")
        points = course["points"] if course else []
        sheet = Sheet(columns, [[point[name] for name in columns] for point in points])
        page = Page("changes_counter.html", counter, shown, course or {}, sheet)
        return parts.drawing.answer(request, page)


def patience_of(request: Request) -> float:
    """People see what is there and then the rest; programs get the whole."""
    is_page = request.query_params.get("format", "html") == "html"
    return PATIENCE_S if is_page else ANSWER_S_MAX


def branches_of(branch: str) -> tuple[str, ...]:
    """With runs of which branches only a run is compared; none means all."""
    return (branch,) if branch else ()


async def suite_of(parts: Parts, judging: Judging, name: str) -> Suite:
    """The suite of that name as it stands; Refusal 404 if there is none."""
    suites = await parts.queries.run("/changes", judging.suites)
    one = changes_form.named(suites, name)
    if one is not None:
        return one
    if not suites and (lost := judging.unread()):
        raise refusal(503, f"the measured runs here cannot be read: {lost[0]}")
    if not suites:
        raise missing("there are no measured runs here; the page Changes says how they come")
    raise not_a_choice("suite", name, [one.name for one in suites])


def _no_run(run: str, error: NoSuchRunError) -> Refusal:
    return unusable("run", run, str(error)) if error.is_ambiguous else missing(str(error))


def _of_suite(one: Suite, branch: str, view: str) -> dict[str, Any]:
    """What every page of a suite shows."""
    return {
        "suite": one.name,
        "summary": one.summary,
        "accepted": sorted((a for a in one.accepted if a.run_id), key=lambda a: -a.at_ns),
        "lost": [a.reason for a in one.accepted if not a.run_id],
        "branch": branch,
        "view": view,
    }


def _row(one: Suite, said: Told | None) -> Told:
    told = one.summary
    return {
        "suite": told.suite,
        "runs": told.runs,
        "run": told.run_id,
        "revision": told.revision,
        "branch": told.branch,
        "ended_ns": told.ended_ns,
        "outcome": said and said["outcome"],
        "standing": said and said["standing"],
        "moved": said and said["moved"],
        "findings": said and said["findings"],
        "because": said and said["because"],
    }


def _upper(counter: Told) -> Any:
    return counter["bound"] and counter["bound"]["upper"]


def _sheet_of(counters: Sequence[Told]) -> Sheet:
    columns = ("backend", "counter", "value", "expected", "delta", "scales")
    return Sheet(
        (*columns, "bound", "class", "because"),
        [[*(c[k] for k in columns), _upper(c), *_standing(c["standing"])] for c in counters],
    )


def _standing(known: Told) -> tuple[str, str]:
    return known["class"], known["because"]
