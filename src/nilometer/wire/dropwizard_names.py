"""What our series are called where DropWizard's names are read.

DropWizard knows no dimensions, so they are part of the name: ``name{key=value,key2=value2}``.
A *template* gives a series the name that a Java service has for the same thing. It says all of
the name: series that it gives the same name are one metric there, added up.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from nilometer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nilometer.model import Dimensions

COUNTER: Final = "counter:"
"""Before a template: among `counters`, as a number without rates, not among `meters`."""

_METRICS: Final = "{messaging.destination.name=metrics}"
_HANDLER: Final = "monasca.persister.pipeline.event.MetricHandler[metric-{monasca.processor}]"
JAVA_NAMES: Final[Mapping[str, str]] = {
    f"monasca.persister.received{_METRICS}": f"{_HANDLER}.events-processed-meter",
    f"monasca.persister.completed{_METRICS}": f"{_HANDLER}.flush-meter",
    f"monasca.persister.flush{_METRICS}": f"{_HANDLER}.flush-timer",
}
"""The names that a Java service has for what an integration of ours measures: the Monasca
persister's, by which its performance test reads it."""

NAMES_MAX: Final = 10_000  # kept by series; what is beyond is made anew each time

_KEY: Final = re.compile(r"([^{}]+)(?:\{([^{}]*)\})?")
_PLACE: Final = re.compile(r"\{([^{}]*)\}")


class Name(NamedTuple):
    """A name among DropWizard's, and whether it stands among its counters."""

    text: str
    is_counter: bool = False


class Template(NamedTuple):
    """The name of all series of one instrument that have these dimensions."""

    instrument: str
    where: tuple[tuple[str, str], ...]
    text: str

    @classmethod
    def parse(cls, key: str, text: str, *, origin: str) -> Template:
        """From ``instrument{key=value}`` and ``Name[{other key}]``; raises ConfigError.

        >>> Template.parse("api.calls{verb=GET}", "Api[{host}].reads", origin="here")
        Template(instrument='api.calls', where=(('verb', 'GET'),), text='Api[{host}].reads')
        """
        match = _KEY.fullmatch(key)
        pairs = [part.partition("=") for part in (match[2] or "").split(",")] if match else []
        pairs = [pair for pair in pairs if any(pair)]
        if match is None or not all(name and equals for name, equals, _ in pairs):
            raise ConfigError(
                f"{origin}: {key!r} names no series; write instrument, or "
                "instrument{key=value,key2=value2}",
                slug="bad-setting",
            )
        left = _PLACE.sub("", text)
        if not text.removeprefix(COUNTER) or "{" in left or "}" in left:
            raise ConfigError(
                f"{origin}: {key}: {text!r} is no name; a dimension's value stands in it as "
                "{key}",
                slug="bad-setting",
            )
        where = tuple((name.strip(), value.strip()) for name, _, value in pairs)
        return cls(match[1].strip(), where, text)

    def fits(self, dimensions: Mapping[str, str]) -> bool:
        """Whether a series with these dimensions is meant, and has what stands in the name."""
        has_all = all(key in dimensions for key in _PLACE.findall(self.text))
        return has_all and all(dimensions.get(key) == value for key, value in self.where)


class Names:
    """Gives each series its name, the first template that fits first."""

    def __init__(self, templates: Mapping[str, str], *, origin: str = "default") -> None:
        self._templates: dict[str, list[Template]] = {}
        for key, text in templates.items():
            template = Template.parse(key, text, origin=origin)
            self._templates.setdefault(template.instrument, []).append(template)
        for known in self._templates.values():  # of two that fit, the one that says more
            known.sort(key=lambda template: -len(template.where))
        self._made: dict[tuple[str, Dimensions], Name] = {}

    def of(self, instrument: str, dimensions: Dimensions) -> Name:
        """The name of one series.

        >>> names = Names({"api.calls": "Api[{host}].calls"})
        >>> names.of("api.calls", (("host", "c1"), ("verb", "GET"))).text
        'Api[c1].calls'
        >>> names.of("api.faults", (("host", "c1"), ("verb", "GET"))).text
        'api.faults{host=c1,verb=GET}'
        """
        key = instrument, dimensions
        name = self._made.get(key)
        if name is None:
            name = self._name(instrument, dimensions)
            if len(self._made) < NAMES_MAX:
                self._made[key] = name
        return name

    def _name(self, instrument: str, dimensions: Dimensions) -> Name:
        held = dict(dimensions)
        for template in self._templates.get(instrument, ()):
            if template.fits(held):
                text = _PLACE.sub(lambda place: held[place[1]], template.text)
                is_counter = template.text.startswith(COUNTER)
                return Name(text.removeprefix(COUNTER) if is_counter else text, is_counter)
        if not dimensions:
            return Name(instrument)
        return Name(f"{instrument}{{{','.join(f'{k}={v}' for k, v in dimensions)}}}")
