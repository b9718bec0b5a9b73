"""All questions as docs/analyze.md describes them; a test compares the two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nilometer.analyze.question import FLAG, NUMBER, TEXT, WHOLE
from nilometer.analyze.questions import QUESTIONS

if TYPE_CHECKING:
    import pyarrow as pa

    from nilometer.analyze.question import Question


def as_markdown() -> str:
    """A section for each question: what it asks, how it is reckoned, what its columns mean."""
    return "\n".join(_section(question) for question in QUESTIONS.values())


def _section(question: Question) -> str:
    lines = [f"### {question.name}", "", question.summary, "", question.because, ""]
    lines += [f"It reads {' and '.join(f'`{name}`' for name in question.tables)}.", ""]
    if question.parameters:
        lines += ["| parameter | default | meaning |", "|---|---|---|"]
        lines += [
            f"| `--{one.name}` | {f'`{one.default}`' if one.default is not None else ''} "
            f"| {one.meaning}{_choices(one.choices)} |"
            for one in question.parameters
        ]
        lines.append("")
    lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{one.name}` | {_type(one.type)} | {one.unit} | {one.meaning} |"
        for one in question.columns
    ]
    return "\n".join([*lines, ""])


def _choices(choices: tuple[str, ...]) -> str:
    return f" One of {', '.join(f'`{one}`' for one in choices)}." if choices else ""


def _type(kind: pa.DataType) -> str:
    return {TEXT: "text", WHOLE: "whole number", NUMBER: "number", FLAG: "yes or no"}[kind]
