"""Traces as one HTML page: a row per span with its bar, what it says below it.

The page is all there is: it has no script and asks no host for anything, and its policy has
the browser refuse both. Whatever a span says is text on it.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from nilometer.wire.attributes import text_of_any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nilometer.model.tree import Node, Tree

DEPTH_MAX: Final = 60  # deeper spans are indented no more: their names would leave the page
TEXT_CHARS_MAX: Final = 20_000  # of one attribute; a statement has at most half of that
NS_PER_MS: Final = 1_000_000

_HEAD: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 14px/1.5 sans-serif; margin: 1.5em }}
summary, .heads {{ display: grid; gap: 0 1em; align-items: center; padding: 2px 0;
  grid-template-columns: 34% 1fr 7em 7em 10em 10em }}
summary {{ cursor: pointer }}
summary:hover, summary:focus {{ background: #8883 }}
.heads {{ font-weight: bold; border-bottom: 1px solid #8888 }}
summary > *, .heads > * {{ overflow: hidden; text-overflow: ellipsis; white-space: nowrap }}
.bar {{ height: .9em; background: #8882 }}
.bar i {{ display: block; height: 100%; min-width: 2px; background: #48c }}
.failed .bar i {{ background: #d33 }}
.failed b {{ color: #d33 }}
.ms {{ text-align: right; font-variant-numeric: tabular-nums }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0 1em; margin: .5em 2em }}
dt {{ color: #888 }}
dd {{ margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-family: monospace }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<div class="heads"><span>span</span><span>when</span><span class="ms">ms</span>
<span class="ms">self ms</span><span>service</span><span>host</span></div>
"""
_ROW: Final = """<details{look}><summary><b style="padding-left:{depth}em">{name}</b>
<span class="bar"><i style="margin-left:{left:.3f}%;width:{width:.3f}%"></i></span>
<span class="ms">{ms:.3f}</span><span class="ms">{self_ms:.3f}</span>
<span>{service}</span><span>{host}</span></summary>
<dl>
{said}</dl>
</details>
"""


def encode(tree: Tree) -> str:
    """The page."""
    root = tree.root
    title = _shown(root.span.name if root else "no spans")
    trace_id = root.span.trace_id.hex() if root else ""
    began_ns, whole_ns = tree.started_ns, tree.duration_ns  # each asks every span
    summary = (
        f"trace {trace_id}: {tree.spans} spans, {tree.errors} failed, "
        f"{whole_ns / NS_PER_MS:.3f} ms"
    )
    if tree.more:
        summary += "; those that started first, the trace has more"
    rows = "".join(_row(node, began_ns, whole_ns or 1) for node in tree.walk())
    return _HEAD.format(title=title, summary=summary) + rows + "</body>\n</html>\n"


def _row(node: Node, began_ns: int, whole_ns: int) -> str:
    said = (f"<dt>{_shown(key)}</dt><dd>{_shown(text)}</dd>\n" for key, text in _said(node))
    return _ROW.format(
        look=' class="failed"' if node.is_error else "",
        depth=min(node.depth, DEPTH_MAX),
        name=_shown(node.span.name),
        left=100 * (node.span.started_ns - began_ns) / whole_ns,
        width=100 * node.duration_ns / whole_ns,
        ms=node.duration_ns / NS_PER_MS,
        self_ms=node.self_ns / NS_PER_MS,
        service=_shown(node.resource.service),
        host=_shown(node.resource.host),
        said="".join(said),
    )


def _said(node: Node) -> Iterator[tuple[str, str]]:
    """All that the span says of itself, by what it is called."""
    span = node.span
    if node.is_error:
        yield "error", span.status_message
    if node.orphan:
        yield "parent", f"{span.parent_id.hex()}, which is not here"
    yield "id", span.span_id.hex()
    yield "kind", span.kind.name.lower()
    for key, value in sorted(span.attributes.items()):
        yield key, text_of_any(value)
    for event in span.events:
        at_ms = (event.at_ns - span.started_ns) / NS_PER_MS
        said = "".join(f"\n{key}: {text_of_any(v)}" for key, v in event.attributes.items())
        yield f"{event.name} after {at_ms:.3f} ms", said.removeprefix("\n")


def _shown(text: str) -> str:
    """The text as HTML shows it: nothing in it is a tag, nothing turns its letters round."""
    if len(text) > TEXT_CHARS_MAX:
        text = text[: TEXT_CHARS_MAX - 3] + "..."
    return escape("".join(c if c.isprintable() or c in "\n\t" else "?" for c in text))
