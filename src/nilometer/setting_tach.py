"""A configuration file of Tach's, read as it is: methods become patches, notifiers exporters.

What has no counterpart here is noted, and the rest is used.
"""

from __future__ import annotations

import re
from configparser import ConfigParser, Error, InterpolationError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nilometer.errors import ConfigError, together
from nilometer.model.patch import Patch

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE_BYTES_MAX: Final = 1 << 20  # a file of a thousand methods has 200 kB

TIMERS: Final = frozenset({"ExecTime", "timer", "graphite", "statsd_timer"})
COUNTERS: Final = frozenset({"Increment", "statsd_incr"})
DOWN: Final = frozenset({"statsd_decr"})
WRAPPERS: Final = {"DebugMetric": "real_metric", "DebugNotifier": "real_driver"}
"""Classes of Tach's that log what another one does, and the option that names it."""

SCHEMES: Final = {"GraphiteNotifier": "graphite", "StatsDNotifier": "statsd"}
"""Notifiers that have an exporter: the scheme of its URL."""

OLD_SECTIONS: Final = {
    "graphite.config": ("GraphiteNotifier", "carbon_host", "carbon_port"),
    "statsd.config": ("StatsDNotifier", "statsd_host", "statsd_port"),
}
REQUIRED: Final = ("module", "method", "metric")


@dataclass(frozen=True, slots=True)
class Tach:
    """What such a file says: patches, where to send, and what nothing here does."""

    path: str
    patches: tuple[Patch, ...] = ()
    export: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return self.path


def read(path: str, origin: str) -> Tach:
    """The file; ConfigError if it cannot be read, or a method of it lacks what it needs."""
    try:
        text = _text(path)
        parser = ConfigParser(strict=False, inline_comment_prefixes=(";",))  # as Python 2's
        parser.read_string(text, path)
        sections = {name: dict(parser[name]) for name in parser.sections()}
    except InterpolationError as error:
        because = f"[{error.section}] {error.option}: {' '.join(str(error).split())}"
        raise ConfigError(f"{origin}: {path}: {because}", slug="bad-tach-file") from None
    except (OSError, ValueError) as error:
        because = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{origin}: {path}: {because}", slug="bad-tach-file") from None
    except Error as error:  # it names the file and the line
        because = " ".join(str(error).split())
        raise ConfigError(f"{origin}: {because}", slug="bad-tach-file") from None
    return _File(path, text, sections).tach()


def _text(path: str) -> str:
    with Path(path).open("rb") as stream:
        return stream.read(FILE_BYTES_MAX).decode()


class _File:
    def __init__(self, path: str, text: str, sections: dict[str, dict[str, str]]) -> None:
        self._path = path
        self._text = text
        self._sections = sections
        self._notes: list[str] = []

    def tach(self) -> Tach:
        found, faults = [], []
        methods = dict(self._sections)
        everywhere = methods.pop("global", {})
        helper = everywhere.get("app_helper", "")
        if everywhere.get("setup_module"):
            note = "is not imported: a patch waits for its module; left out"
            self._note(self._at("global"), f"setup_module: {everywhere['setup_module']} {note}")
        notifiers = {s: methods.pop(s) for s in list(methods) if _is_notifier(s)}
        for section, options in methods.items():
            try:
                found += self._patches(section, options, helper)
            except ConfigError as fault:
                faults.append(fault)
        export = []
        for section, options in notifiers.items():
            try:
                export.append(self._url(section, options))
            except ConfigError as fault:
                faults.append(fault)
        if faults:
            raise together(faults)
        urls = tuple(dict.fromkeys(url for url in export if url))
        return Tach(self._path, tuple(found), urls, tuple(self._notes))

    def _at(self, section: str) -> str:
        match = re.search(rf"^\[{re.escape(section)}\]", self._text, re.MULTILINE)
        line = self._text.count("\n", 0, match.start()) + 1 if match else 1
        return f"{self._path}:{line}"

    def _patches(self, section: str, options: Mapping[str, str], helper: str) -> list[Patch]:
        at = self._at(section)
        missing = [name for name in REQUIRED if not options.get(name)]
        if missing:
            raise ConfigError(
                f"{at}: method {section!r} lacks {', '.join(missing)}", slug="bad-tach-file"
            )
        made = self._made(section, options, at)
        if made is None:
            return []
        if options.get("bump_transaction_id"):
            self._note(at, "bump_transaction_id: batches have no transactions; left out")
        helper = options.get("app_helper") or options.get("app_path") or helper
        hooks = [self._hook(helper, options.get(name, ""), at) for name in ("app", "post_app")]
        make, amount = made
        return [
            Patch(
                module,
                parts,
                make,
                section.replace("{", "{{").replace("}", "}}"),
                hook=hooks[0],
                result_hook=hooks[1],
                amount=amount,
                origin=at,
                tach=True,
                either=True,
            )
            for module, parts in _targets(options["module"], options["method"], at)
        ]

    def _made(
        self, section: str, options: Mapping[str, str], at: str
    ) -> tuple[str, int] | None:
        """Timer or counter, and by how much it counts; None where there is nothing like it."""
        metric = options["metric"].rpartition(".")[2]
        if metric in WRAPPERS:
            metric = options.get(WRAPPERS[metric], "").rpartition(".")[2]
        if metric in TIMERS:
            return "timer", 1
        try:
            amount = int(options.get("increment", "-1" if metric in DOWN else "1"))
        except ValueError:
            raise ConfigError(
                f"{at}: increment {options['increment']!r} is not a whole number",
                slug="bad-tach-file",
            ) from None
        if metric in COUNTERS | DOWN and amount > 0:
            return "counter", amount
        if metric in COUNTERS | DOWN:
            self._note(at, f"{section}: counters only go up, not by {amount}; left out")
        else:
            self._note(at, f"{section}: no metric like {options['metric']!r}; left out")
        return None

    def _hook(self, helper: str, function: str, at: str) -> str:
        """A helper lies beside its file, as Tach wanted it, or is a module."""
        if not function:
            return ""
        if not helper:
            raise ConfigError(
                f"{at}: {function!r} has no app_helper to be in", slug="bad-tach-file"
            )
        beside = Path(self._path).absolute().parent / (helper.removesuffix(".py") + ".py")
        return f"{beside if beside.is_file() else helper}:{function}"

    def _url(self, section: str, options: Mapping[str, str]) -> str:
        at = self._at(section)
        driver, host, port = OLD_SECTIONS.get(section, ("", "host", "port"))
        named = driver or options.get("driver", "PrintNotifier").rpartition(".")[2]
        if named in WRAPPERS:
            named = options.get(WRAPPERS[named], "").rpartition(".")[2]
        if named in SCHEMES:
            if not (options.get(host) and options.get(port)):
                raise ConfigError(
                    f"{at}: notifier {section!r} lacks {host} or {port}", slug="bad-tach-file"
                )
            return f"{SCHEMES[named]}://{options[host]}:{options[port]}"
        if named == "PrintNotifier":
            return "log://"
        self._note(at, f"{section}: no exporter is like {named!r}; set `export`")
        return ""

    def _note(self, at: str, what: str) -> None:
        self._notes.append(f"{at}: {what}")


def _is_notifier(section: str) -> bool:
    return section in OLD_SECTIONS or section == "notifier" or section.startswith("notifier:")


def _targets(module: str, method: str, at: str) -> list[tuple[str, tuple[str, ...]]]:
    """Tach's `module` may be a class in one; which of both it is shows when it is imported."""
    names = module.split(".")
    if not all(name.isidentifier() for name in [*names, method]):
        raise ConfigError(
            f"{at}: {module!r} and {method!r} are no names of Python's", slug="bad-tach-file"
        )
    found: list[tuple[str, tuple[str, ...]]] = [(module, (method,))]
    if len(names) > 1:
        found.append((".".join(names[:-1]), (names[-1], method)))
    return found
