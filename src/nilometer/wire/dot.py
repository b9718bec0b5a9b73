"""Traces as a Graphviz graph: a box per span, an arrow from each to its children."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nilometer.model.tree import Node, Tree

NAME_CHARS_MAX: Final = 80  # a wider box makes the whole graph unreadable

_ESCAPED: Final = {ord("\\"): "\\\\", ord('"'): '\\"', ord("&"): "&amp;"}


def encode(tree: Tree) -> str:
    """The text of a digraph; spans that failed are red, those without their parent dashed."""
    lines = ["digraph trace {", '  node [shape=box, fontname="sans-serif"];']
    numbers: dict[int, int] = {}
    for node in tree.walk():
        numbers[id(node)] = len(numbers)
        lines.append(f"  n{numbers[id(node)]} [{_look(node)}];")
    for node in tree.walk():
        lines += [
            f"  n{numbers[id(node)]} -> n{numbers[id(child)]};" for child in node.children
        ]
    return "\n".join([*lines, "}", ""])


def _look(node: Node) -> str:
    times = f"{node.duration_ns / 1e6:.3f} ms, self {node.self_ns / 1e6:.3f} ms"
    look = [f'label="{_shown(node.resource.service)}: {_shown(node.span.name)}\\n{times}"']
    if node.is_error:
        look.append('color="red"')
        look.append(f'tooltip="{_shown(node.span.status_message or "error")}"')
    if node.orphan:
        look.append('style="dashed"')
    return ", ".join(look)


def _shown(text: str) -> str:
    """The text as Graphviz shows it: no escape of its own, no entity, no line end works, and
    nothing turns the order of letters round.
    """
    if len(text) > NAME_CHARS_MAX:
        text = text[: NAME_CHARS_MAX - 3] + "..."
    return "".join(c if c.isprintable() else "?" for c in text).translate(_ESCAPED)
