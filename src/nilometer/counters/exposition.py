"""The text that servers show to Prometheus, in both of its forms, as samples.

Prometheus' text format 0.0.4 and OpenMetrics 1.0 differ in how they name counters, in units, in
exemplars and in the line that ends them. Lines are read strictly; one that cannot be read is a
fault that is told, and the others count.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nilometer.counters.figures import Number
    from nilometer.model.dimensions import Dimensions

SAMPLES_MAX: Final = 100_000
"""Ten times what Prometheus' own guide calls a large target; 0.5 s to read, 30 MB."""

FAULTS_SHOWN_MAX: Final = 3  # of each exposition; one bad line mostly has neighbours like it
FAULT_CHARS_MAX: Final = 80

TYPES: Final = frozenset(
    {"counter", "gauge", "histogram", "summary", "untyped", "unknown", "info", "stateset"}
    | {"gaugehistogram"}
)

_NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_TEXT: Final = r'"(?:[^"\\\n]|\\.)*"'
_SAMPLE: Final = re.compile(rf"({_NAME})[ \t]*")
_LABEL: Final = re.compile(
    rf"[ \t]*({_NAME}|{_TEXT})(?:[ \t]*=[ \t]*({_TEXT}))?[ \t]*(,[ \t]*|(?=\}}))"
)
_VALUE: Final = re.compile(
    r"[ \t]*(?:(?P<whole>[+-]?\d+)|(?P<real>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<odd>[+-]?inf(?:inity)?|nan))"
    r"(?:[ \t]+[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)?"  # its time, which is not ours
    r"[ \t]*(?:[ \t]#[ \t]*\{.*)?$",  # an exemplar
    re.IGNORECASE,
)
_ESCAPED: Final = re.compile(r"\\(.)")
_ABOUT: Final = re.compile(rf"#[ \t]+(HELP|TYPE|UNIT)[ \t]+({_NAME}|{_TEXT})(?:[ \t]+(.*))?$")


class Sample(NamedTuple):
    """One number, and which it is."""

    name: str
    labels: Dimensions
    value: Number


class Family(NamedTuple):
    """What is said of all samples of a metric."""

    type: str = "untyped"
    help: str = ""
    unit: str = ""


class Exposition(NamedTuple):
    """What was read. `faults` are the first lines that could not be, and how many more."""

    samples: tuple[Sample, ...]
    families: dict[str, Family]
    faults: tuple[str, ...] = ()


class _LineError(ValueError):
    pass


def parse(text: str) -> Exposition:
    """Read an exposition; never raises."""
    families: dict[str, Family] = {}
    samples: dict[tuple[str, Dimensions], Number] = {}
    faults: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line[:1] == "#":
                _note(line.rstrip("\r"), families)
                continue
            if not (line := line.strip()):
                continue
            sample = _sample(line)
            if sample[:2] in samples:
                raise _LineError("this series was there before")
            if len(samples) >= SAMPLES_MAX:
                faults.append(f"line {number} and what follows: over {SAMPLES_MAX} samples")
                break
            samples[sample[:2]] = sample.value
        except _LineError as error:
            faults.append(f"line {number}: {error}: {line[:FAULT_CHARS_MAX]!r}")
    found = tuple(Sample(*series, value) for series, value in samples.items())
    return Exposition(found, families, _shown(faults))


def _shown(faults: list[str]) -> tuple[str, ...]:
    more = len(faults) - FAULTS_SHOWN_MAX
    return (*faults[:FAULTS_SHOWN_MAX], *([f"{more} more such lines"] if more > 0 else []))


def _note(line: str, families: dict[str, Family]) -> None:
    """A line after a hash: what it says of a family, or nothing at all."""
    found = _ABOUT.match(line)
    if found is None:
        return  # a comment; `# EOF` too: who cuts the text short cuts a sample, mostly
    what, name, rest = found[1], _plain(found[2]), found[3] or ""
    family = families.get(name, Family())
    if what == "TYPE":
        kind = rest.strip()
        if kind not in TYPES:
            raise _LineError("not a type")
        families[name] = family._replace(type=kind)
    elif what == "UNIT":
        families[name] = family._replace(unit=rest.strip())
    else:
        families[name] = family._replace(help=_unescaped(rest))


def _sample(line: str) -> Sample:
    found = _SAMPLE.match(line)
    name, at = (found[1], found.end()) if found else ("", 0)
    labels: list[tuple[str, str]] = []
    if line[at : at + 1] == "{":
        at = _labels(line, at + 1, labels)
        if not name and labels and labels[0][1] == "":
            name = labels.pop(0)[0]  # {"a name in quotes", label="value"}
    if not name:
        raise _LineError("no name")
    if len(dict(labels)) != len(labels):
        raise _LineError("a label is there twice")
    value = _VALUE.match(line, at)
    if value is None:
        raise _LineError("no value")
    return Sample(name, tuple(sorted(labels)), _number(value))


def _labels(line: str, at: int, labels: list[tuple[str, str]]) -> int:
    """Read labels up to the brace that ends them; where it goes on behind it."""
    while True:
        if line[at : at + 1] == "}":
            return at + 1
        found = _LABEL.match(line, at)
        if found is None or (found[2] is None and (labels or found[1][0] != '"')):
            raise _LineError("labels that cannot be read")
        labels.append((_plain(found[1]), _plain(found[2]) if found[2] else ""))
        at = found.end()


def _plain(text: str) -> str:
    return _unescaped(text[1:-1]) if text[:1] == '"' else text


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], text)


def _number(value: re.Match[str]) -> Number:
    if value["whole"]:
        return (
            int(value["whole"])
            if len(value["whole"]) < INT_CHARS_MAX
            else float(value["whole"])
        )
    number = float(value["real"] or value["odd"])
    return int(number) if number.is_integer() and abs(number) < EXACT_MAX else number


EXACT_MAX: Final = 2.0**53  # beyond it a float does not hold every integer
INT_CHARS_MAX: Final = 25  # 2^64 has 20 digits; a thousand of them would be an attack


def counters_of(exposition: Exposition) -> Iterator[tuple[Sample, Family, bool]]:
    """The samples that are counters or gauges, their family, and whether they only grow.

    Of histograms and summaries only count and sum; nothing of what has no number in it.
    """
    for sample in exposition.samples:
        family, suffix = _family(sample.name, exposition.families)
        told = _monotonic(family.type, suffix)
        if told is not None:
            yield sample, family, told


def declared(exposition: Exposition) -> Iterator[tuple[str, Family]]:
    """The counters that are announced by a TYPE line and have counted nothing yet.

    Only those whose sample can have no other name: ``x_total``, and of a histogram its count
    and sum.
    """
    shown = {sample.name for sample in exposition.samples}
    for name, family in exposition.families.items():
        names = [name] if family.type == "counter" and name.endswith("_total") else []
        if family.type == "histogram":
            names = [f"{name}_count", f"{name}_sum"]
        for one in names:
            if one not in shown:
                yield one, family


SUFFIXES: Final = (
    "_total",
    "_count",
    "_sum",
    "_bucket",
    "_created",
    "_gcount",
    "_gsum",
    "_info",
)


def _family(name: str, families: dict[str, Family]) -> tuple[Family, str]:
    """What is said of a sample's metric: itself, or itself without the suffix of its part."""
    if name in families and families[name].type not in {"histogram", "gaugehistogram"}:
        return families[name], "_total" if families[name].type == "counter" else ""
    for suffix in SUFFIXES:
        if name.endswith(suffix) and name[: -len(suffix)] in families:
            return families[name[: -len(suffix)]], suffix
    return Family(), next((s for s in SUFFIXES if name.endswith(s)), "")


def _monotonic(kind: str, suffix: str) -> bool | None:
    """Whether a sample only grows; None if it is not to be counted at all."""
    if suffix in {"_created", "_bucket"} or kind in {"info", "stateset"}:
        return None
    if kind in {"gauge", "gaugehistogram"}:
        return False
    if kind == "summary" and not suffix:
        return None  # a quantile
    if kind in {"untyped", "unknown"}:
        return suffix in {"_total", "_count", "_sum"}
    return True


def joined(lines: Iterable[str], prefixes: tuple[str, ...]) -> str:
    """The lines that speak of certain metrics: large servers show far more than is asked of."""
    about = tuple(f"# TYPE {prefix}" for prefix in prefixes)
    return "\n".join(line for line in lines if line.startswith((*prefixes, *about)))
