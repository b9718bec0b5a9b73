"""What stands for a library's functions and costs next to nothing while it is switched off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nilometer.twin import choose

if TYPE_CHECKING:
    from collections.abc import Callable

    from nilometer.integrations.asked_pure import Choice, Switch
    from nilometer.integrations.batch_pure import Batch, Counted, Stack
    from nilometer.integrations.batch_pure import shape_of as shape_of
    from nilometer.integrations.calls import Depth
else:
    _twin = choose("nilometer.integrations.sql_pure", "nilometer.integrations._sql")
    Batch = _twin.Batch
    Choice = _twin.Choice
    Switch = _twin.Switch
    shape_of = _twin.shape_of


def switched(
    depth: Depth, original: Callable[..., Any], measured: Callable[..., Any]
) -> Switch:
    """The original where its integration is off, else what measures it."""
    made = Switch(original, measured)
    depth.switch(made)
    return made


def chosen(depth: Depth, original: Callable[..., Any], choose: Callable[..., Any]) -> Choice:
    """The original where its integration is off, else what ``choose`` gives for each call."""
    made = Choice(original, choose)
    depth.switch(made)
    return made


def batched(
    depth: Depth,
    original: Callable[..., Any],
    choose: Callable[..., Callable[..., Any]],
    known: dict[object, Counted],
    runs: dict[str, Callable[..., Any]],
    stack: Stack,
) -> Batch:
    """The original where its integration is off, else what counts the commands of a batch."""
    made = Batch(original, choose, known, runs, stack)
    depth.switch(made)
    return made
