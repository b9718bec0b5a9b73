"""Traces as speedscope's evented profiles: one per lane, in nanoseconds from the start."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nilometer.wire.lanes import lanes_of

if TYPE_CHECKING:
    from nilometer.model.tree import Tree
    from nilometer.wire.lanes import Lane

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def encode(tree: Tree) -> str:
    """A JSON object as speedscope's schema demands: what opens is closed, innermost first."""
    frames: dict[tuple[str, str], int] = {}
    duration_ns = tree.duration_ns  # asks every span
    profiles = [_profile(lane, frames, duration_ns) for lane in lanes_of(tree)]
    root = tree.root
    document = {
        "$schema": SCHEMA,
        "name": root.span.name if root else "",
        "exporter": "nilometer",
        "activeProfileIndex": 0,
        "shared": {"frames": [{"name": name, "file": file} for name, file in frames]},
        "profiles": profiles,
    }
    return json.dumps(document, separators=(",", ":")) + "\n"


def _profile(
    lane: Lane, frames: dict[tuple[str, str], int], duration_ns: int
) -> dict[str, Any]:
    who = lane.resource
    parts = [who.service, who.host, str(who.pid or ""), f"lane {lane.number}"]
    return {
        "type": "evented",
        "name": " ".join(filter(None, parts)),
        "unit": "nanoseconds",
        "startValue": 0,
        "endValue": max(duration_ns, lane.steps[-1].at_ns),
        "events": [
            {
                "type": "O" if step.opens else "C",
                # What a frame's file is for code, the service is for a span.
                "frame": frames.setdefault((step.node.span.name, who.service), len(frames)),
                "at": step.at_ns,
            }
            for step in lane.steps
        ],
    }
