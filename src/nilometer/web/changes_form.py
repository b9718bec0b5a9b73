"""Accepting a step from a page: a form that only a page of ours can send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response  # noqa: TC002 - FastAPI reads annotations
from fastapi.responses import RedirectResponse

from nilometer.api.problems import missing, unusable
from nilometer.gate.accepting import UnacceptableError
from nilometer.gate.chosen import NoSuchRunError
from nilometer.web.addresses import link
from nilometer.web.form import fields_of, refusal
from nilometer.web.judging import ANSWER_S_MAX, made

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nilometer.web.judging import Judging, Suite
    from nilometer.web.parts import Parts

FORM_BYTES_MAX: Final = 262_144  # names of a thousand counters, and a reason
FIELDS_MAX: Final = 2_000
BY_CHARS_MAX: Final = 200


def add(routes: APIRouter, parts: Parts, judging: Judging) -> None:
    """The route that accepts. That the form comes from here was looked at before."""

    @routes.post("/changes/accept")
    async def accept(request: Request) -> Response:
        """Take a change for granted, and go back to where that shows."""
        fields = await fields_of(request, bytes_max=FORM_BYTES_MAX, fields_max=FIELDS_MAX)
        told = {name: [_as_it_was(each) for each in values] for name, values in fields.items()}
        suite, run, branch, by, reason, back = (
            told.get(name, [""])[0]
            for name in ("suite", "run", "branch", "by", "reason", "back")
        )
        if len(by) > BY_CHARS_MAX:
            raise unusable("by", by, f"a name has at most {BY_CHARS_MAX} characters")
        counters, everything = told.get("counter", []), told.get("all") == ["yes"]
        if counters and everything:
            raise unusable("all", "yes", "all counters or some of them: leave one out")
        if "boxes" in told and not (counters or everything):
            # Without a name all that moved would be meant, as on the command line.
            raise unusable("counter", "", "no counter is ticked; go back and choose one")
        suites = await parts.queries.run("/changes", judging.suites)
        one = named(suites, suite)
        if one is None:
            raise missing(f"no suite {suite!r}; the page Changes has all")
        future = judging.accept(
            one,
            run,
            counters,
            everything=everything,
            reason=reason,
            by=by.strip(),
            branches=(branch,) if branch else (),
        )
        try:
            (accepted,) = await made([future], ANSWER_S_MAX)
        except NoSuchRunError as error:
            raise missing(str(error)) from None
        except UnacceptableError as error:
            if error.is_missing:
                raise unusable("counter", "", f"{error}; choose one that did") from None
            raise unusable(error.parameter, error.value, str(error)) from None
        if accepted is None:
            detail = "it is not recorded yet, as the history takes long; look at the page again"
            raise refusal(503, detail)
        kept = {"suite": one.name, "branch": branch or None}
        if back:
            return RedirectResponse(link("changes", "counter", counter=back, **kept), 303)
        return RedirectResponse(link("changes", "run", run=accepted.run_id, **kept), 303)


def named(suites: Sequence[Suite], name: str) -> Suite | None:
    """The suite of that name, be it one that a form told."""
    for each in suites:
        if each.name == name:
            return each
    return next((each for each in suites if _as_it_was(each.name) == _as_it_was(name)), None)


def _as_it_was(text: str) -> str:
    """What a field held: forms send the end of a line as two letters, whatever it was."""
    return text.replace("\r\n", "\n")
