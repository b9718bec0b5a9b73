"""A verdict, and what a history says of its counters, as JSON: all that is known of it."""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nilometer.gate.attribution import Part
    from nilometer.gate.course import Course
    from nilometer.gate.finding import Finding
    from nilometer.gate.rank import Learned, Predictor
    from nilometer.gate.stability import Standing
    from nilometer.gate.verdict import Verdict
    from nilometer.model.run import Accepted


def as_json(verdict: Verdict) -> str:
    """One JSON document."""
    return json.dumps(document(verdict), indent=2, allow_nan=False) + "\n"


def document(verdict: Verdict) -> dict[str, Any]:
    """What becomes JSON."""
    run, previous = verdict.run, verdict.previous
    return {
        "outcome": verdict.outcome.value,
        "because": verdict.because,
        "advisory": verdict.is_advisory,
        "confirmed": verdict.confirmed or None,
        "run": {
            "id": run.id,
            "suite": run.suite,
            "test_set": run.test_set,
            "work": run.work,
            "revision": run.revision,
            "branch": run.branch,
            "host": run.host,
            "started_ns": run.started_ns,
            "wall_ns": run.wall_ns,
            "exit_status": run.exit_status,
        },
        "previous": None
        if previous is None
        else {"id": previous.id, "revision": previous.revision},
        "runs": verdict.runs,
        "counters": verdict.counters,
        "false_alarm_rate": verdict.rate,
        "findings": [finding_document(one) for one in verdict.findings],
        "improved": [finding_document(one) for one in verdict.improved],
        "notes": list(verdict.notes),
        "left_out": [{"run": one.run_id, "because": one.because} for one in verdict.left_out],
    }


def finding_document(finding: Finding) -> dict[str, Any]:
    """A counter that moved."""
    limit = finding.bound
    return {
        "backend": finding.key.backend,
        "counter": finding.key.counter,
        "unit": finding.unit,
        "value": finite(finding.now),
        "expected": finite(finding.expected),
        "delta": finite(finding.delta),
        "share": None if finding.share is None else finite(finding.share),
        "scales": finite(finding.scales),
        "standing": standing_document(finding.standing),
        "bound": None
        if limit is None
        else {"upper": finite(limit.upper), "because": limit.because},
        "since": finding.since or None,
        "first": finding.is_first,
        "went_away": finding.went_away or None,
        "parts": [_part(part) for part in finding.parts],
    }


def standing_document(known: Standing) -> dict[str, Any]:
    """What is known of a counter."""
    return {
        "class": known.stability.value,
        "provisional": known.is_provisional,
        "runs": known.runs,
        "median": finite(known.median),
        "mad": finite(known.mad),
        "scale": finite(known.scale),
        "because": known.because,
    }


def _part(part: Part) -> dict[str, Any]:
    place = part.place
    return {
        "backend": part.key.backend,
        "counter": part.key.counter,
        "dimensions": dict(part.key.dimensions),
        "value": finite(part.now),
        "expected": finite(part.expected),
        "delta": finite(part.delta),
        "file": None if place is None else place.file,
        "line": place.line if place is not None and place.line else None,
    }


def learned_document(learned: Learned) -> dict[str, Any]:
    """What a history says of each counter."""
    run = learned.run
    return {
        "suite": run.suite,
        "test_set": run.test_set,
        "runs": learned.runs,
        "counters": [predictor_document(one) for one in learned.predictors],
        "left_out": [{"run": out.run_id, "because": out.because} for out in learned.left_out],
    }


def predictor_document(predictor: Predictor) -> dict[str, Any]:
    """What one counter is worth."""
    limit = predictor.bound
    smallest, share = predictor.smallest, predictor.share
    return {
        "backend": predictor.key.backend,
        "counter": predictor.key.counter,
        "kind": predictor.kind.value,
        "unit": predictor.unit,
        **standing_document(predictor.standing),
        "bound": None
        if limit is None
        else {"upper": finite(limit.upper), "because": limit.because},
        "smallest_change": None if smallest is None else finite(smallest),
        "smallest_share": None if share is None else finite(share),
        "moved_with_accepted": predictor.moved,
        "accepted": predictor.accepted,
    }


def course_document(course: Course) -> dict[str, Any]:
    """One counter over the runs; places count the points from 0."""
    return {
        **predictor_document(course.predictor),
        "points": [
            {
                "run": one.run.id,
                "revision": one.run.revision,
                "branch": one.run.branch,
                "ended_ns": one.run.ended_ns,
                "value": None if one.value is None else finite(one.value),
                "because": one.because or None,
            }
            for one in course.points
        ],
        "levels": [
            {"start": one.start, "stop": one.stop, "level": finite(one.level)}
            for one in course.stretches
        ],
        "steps": [
            {
                "place": step.index,
                "run": course.points[step.index].run.id,
                "before": finite(step.before),
                "after": finite(step.after),
                "because": step.because,
                "alarms": step.index == course.held,
            }
            for step in course.steps
        ],
        "accepted": [
            {"place": at, **accepted_document(accepted)} for at, accepted in course.accepted
        ],
    }


def accepted_document(accepted: Accepted) -> dict[str, Any]:
    """What somebody took for granted; no counters means all."""
    return {
        "run": accepted.run_id,
        "at_ns": accepted.at_ns,
        "by": accepted.by,
        "reason": accepted.reason,
        "counters": list(accepted.counters),
    }


def finite(value: float) -> float | int | None:
    """JSON has no infinity; a whole number is written as one."""
    if not isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else value
