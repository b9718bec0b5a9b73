"""The one table of settings: what parses, the docs and `nilometer doctor` follow it.

``python -m nilometer.setting_table`` prints it as it stands in docs/settings.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nilometer import setting_values as values

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX: Final = "NILOMETER_"

OTHER_VARIABLES: Final = {
    "NILOMETER_CONFIG": "The settings file, instead of nilometer.toml where it is started.",
    "NILOMETER_PURE_PYTHON": "1 runs the Python twins even where the C core is installed.",
    "NILOMETER_REQUIRE_C": "1 makes a missing or stale C core an error, not a slower fallback.",
    "NILOMETER_URL": "Where commands find the collector.",
    "NILOMETER_RUN_FILE": "Set by `measure`: where its command may tell what it did, as JSON.",
}
"""Variables that begin like settings and are none."""


class Setting(NamedTuple):
    """One setting: its name everywhere, how text becomes its value, and what it is for."""

    name: str
    parse: Callable[[object, str], Any]  # value as written, origin -> the value
    form: str  # for people: how it is written
    default: str  # for people: as in the docs
    purpose: str
    secret: bool = False

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("service", values.text, "text", "the program's name", "Who measures."),
    Setting("version", values.text, "text", '""', "The service's version."),
    Setting("region", values.text, "text", '""', "The region it runs in."),
    Setting("zone", values.text, "text", '""', "The availability zone it runs in."),
    Setting(
        "dimensions",
        values.pairs,
        "table, or k=v,k=v",
        "none",
        "Added to everything; `region` and `zone` may stand here too.",
    ),
    Setting(
        "export",
        values.urls,
        "list of URLs",
        "none",
        "Where to send; docs/exporters.md has the schemes and their options.",
    ),
    Setting(
        "token_file",
        values.path,
        "path",
        "none",
        "The file with the collector's token: for every `otlp` URL that has none of its own, "
        "and as a variable for commands.",
    ),
    Setting(
        "interval_s",
        values.duration(0.05, 3600),
        "seconds, or with a unit as in 500ms; 0.05 to 3600",
        "10",
        "How often readings are taken and sent.",
    ),
    Setting(
        "queue_rows",
        values.count(100, 10_000_000),
        "100 to 10000000",
        "32768",
        "Readings, spans and events kept for each exporter that is down, 1 KiB each.",
    ),
    Setting(
        "level", values.level, "off, basic, detail or deep", "basic", "How deep to measure."
    ),
    Setting(
        "levels",
        values.levels,
        "table, or prefix=level,...",
        "none",
        "The level by instrument name prefix; the longest prefix wins.",
    ),
    Setting(
        "series_max",
        values.count(1, 1_000_000),
        "1 to 1000000",
        "1000",
        "Series per instrument; what exceeds it goes to one overflow series.",
    ),
    Setting(
        "trace_keys",
        values.keys,
        "list",
        "none: nothing is traced",
        "Keys that sign trace triggers, the one to sign with first. Prefer `trace_key_file`.",
        secret=True,
    ),
    Setting(
        "trace_key_file",
        values.path,
        "path",
        "none",
        "File of keys, one a line; other users must not be able to read it.",
    ),
    Setting(
        "requests_per_second",
        values.number(0.001, 1e6),
        "0.001 to 1000000",
        "10",
        "Traced requests per second and process, at most.",
    ),
    Setting(
        "spans_per_trace",
        values.count(1, 1_000_000),
        "1 to 1000000",
        "2000",
        "Spans recorded of one request in one process, at most.",
    ),
    Setting(
        "flight_recorder",
        values.truth,
        "true or false",
        "false",
        "Record each request in memory and keep those that failed: see docs/tracing.md.",
    ),
    Setting(
        "flight_slow_s",
        values.duration(0.001, 3600),
        "seconds, or with a unit as in 500ms; 0.001 to 3600",
        "none",
        "The recorder also keeps what took so long; without it only what failed.",
    ),
    Setting(
        "flight_spans",
        values.count(16, 1_000_000),
        "16 to 1000000",
        "16384",
        "Spans of all requests together that are being recorded.",
    ),
    Setting(
        "flight_bytes",
        values.count(65_536, 2**34),
        "65536 to 17179869184",
        "16777216",
        "Bytes that these hold, by estimate: see docs/tracing.md.",
    ),
    Setting(
        "join",
        values.truth,
        "true or false",
        "false",
        "Record also what an unsigned sampled `traceparent` asks for.",
    ),
    Setting(
        "osprofiler",
        values.truth,
        "true or false",
        "true",
        "Understand OSProfiler's trace headers.",
    ),
    Setting(
        "osprofiler_values",
        values.truth,
        "true or false",
        "false",
        "Record the arguments, results and parameters that OSProfiler's decorators show.",
    ),
    Setting(
        "statement_parameters",
        values.truth,
        "true or false",
        "false",
        "Record what statements of databases were given: they may be passwords.",
    ),
    Setting(
        "osprofiler_clear_key",
        values.truth,
        "true or false",
        "false",
        "On message buses do as OSProfiler does: the key itself travels, and is believed.",
    ),
    Setting(
        "integrations",
        values.names,
        "list, or auto",
        "none",
        "Libraries to measure: their names, or `auto` for all that are installed.",
    ),
    Setting(
        "integrations_off",
        values.names,
        "list",
        "none",
        "Libraries that `auto` leaves alone.",
    ),
    Setting(
        "state",
        values.path,
        "path",
        "none",
        "A folder for what outlives the process: see docs/monasca-persister.md.",
    ),
    Setting(
        "arena",
        values.path,
        "path",
        "none",
        "A folder for the values of each process, which then outlive it: see "
        "docs/crash-safe.md.",
    ),
    Setting(
        "slow_callback_s",
        values.duration(0.001, 3600),
        "seconds, or with a unit as in 500ms; 0.001 to 3600",
        "0.1",
        "How long a callback or a greenlet may hold its event loop before that is told.",
    ),
    Setting(
        "trace_hosts",
        values.names,
        "list",
        "none",
        "Further hosts, as patterns, that get a trace's headers: see docs/integrations.md.",
    ),
    Setting(
        "admin",
        values.endpoint,
        "host:port, or host:first-last",
        "none",
        "Where the process answers for itself, as DropWizard's do: see docs/dropwizard.md.",
    ),
    Setting(
        "admin_token_file",
        values.path,
        "path",
        "none",
        "File of tokens, one a line; who asks `admin` for more than `/ping` then needs one.",
    ),
    Setting(
        "dropwizard_names",
        values.series_names,
        "table, or series=name,...",
        "none",
        "What series are called where `admin` tells them.",
    ),
    Setting(
        "patch",
        values.patches,
        "tables [[patch]], or target=make,...",
        "none",
        "Functions to measure that are not yours: see docs/patching.md.",
    ),
    Setting(
        "tach_config",
        values.tach,
        "path",
        "none",
        "A configuration file of Tach's, used as it is: see docs/patching.md.",
    ),
)
"""All settings of a measured service, in the order of the docs."""

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}

COMMAND_SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        "backends",
        values.urls,
        "list of URLs or names",
        "all that are found",
        "Whose counters are read: see docs/counters.md.",
        secret=True,
    ),
    Setting(
        "suite",
        values.text,
        "text",
        "the command that is measured",
        "What a run is a run of; only runs of one suite are compared.",
    ),
    Setting(
        "history",
        values.path,
        "path or URL",
        ".nilometer",
        "The tables where runs are kept.",
    ),
)
"""Settings of the commands `counters`, `measure` and `gate`, in the same file as the others."""

COMMANDS_BY_NAME: Final = {setting.name: setting for setting in COMMAND_SETTINGS}


def as_markdown() -> str:
    """The tables in docs/settings.md."""
    lines = [
        *_rows(SETTINGS),
        "",
        "Settings of the commands `counters`, `measure` and `gate`; services pass them over:",
        "",
        *_rows(COMMAND_SETTINGS),
        "",
        "Variables that are not settings:",
        "",
        "| variable | what it is for |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {purpose} |" for name, purpose in OTHER_VARIABLES.items()]
    return "\n".join(lines) + "\n"


def _rows(settings: tuple[Setting, ...]) -> list[str]:
    return [
        "| setting | variable | written as | default | what it is for |",
        "|---|---|---|---|---|",
        *(
            f"| `{s.name}` | `{s.variable}` | {s.form} | {s.default} | {s.purpose} |"
            for s in settings
        ),
    ]


if __name__ == "__main__":
    import sys

    sys.stdout.write(as_markdown())
