"""Settings come from file, environment and arguments; faults are told with their origins."""

from __future__ import annotations

import inspect
import os
import subprocess
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer import setting_table
from nilometer.config import Arguments, Settings, load, load_for_commands
from nilometer.errors import ConfigError
from nilometer.model import Level
from nilometer.setting_table import SETTINGS

DOCS = Path(__file__).parent.parent / "docs"


def settings(tmp_path, *, toml="", environ=None, **arguments):
    if toml:
        (tmp_path / "nilometer.toml").write_text(toml)
    return load(arguments, environ=environ or {}, directory=tmp_path)


def fault(tmp_path, **given_):
    with pytest.raises(ConfigError) as refused:
        settings(tmp_path, **given_)
    return str(refused.value)


def test_later_sources_win_and_each_value_remembers_where_it_stood(tmp_path):
    found = settings(
        tmp_path,
        toml='version = "1"\nservice = "a"\nlevel = "off"\n\n[dimensions]\ntier = "gold"\n',
        environ={"NILOMETER_SERVICE": "b", "NILOMETER_LEVEL": "detail", "PATH": "/bin"},
        level="deep",
    )

    assert (found.version, found.service, found.level) == ("1", "b", Level.DEEP)
    assert found.dimensions == {"tier": "gold"}
    assert found.origins == {
        "version": "nilometer.toml:1",
        "service": "NILOMETER_SERVICE",
        "level": "configure(level=...)",
        "dimensions": "nilometer.toml:5",
    }


def test_the_same_settings_read_alike_from_file_environment_and_arguments(tmp_path):
    toml = (
        'service = "s"\nexport = ["log://", "statsd://127.0.0.1:8125"]\ninterval_s = 2.5\n'
        'level = "detail"\nlevels = { db = "off", "http.server" = "deep" }\njoin = true\n'
        'dimensions = { tier = "gold", attempt = 3 }\nseries_max = 7\nregion = "r1"\n'
        'trace_keys = ["0123456789", "abcdefghij"]\nintegrations_off = ["threads"]\n'
    )
    environ = {
        "NILOMETER_SERVICE": "s",
        "NILOMETER_EXPORT": "log://,statsd://127.0.0.1:8125",
        "NILOMETER_INTERVAL_S": "2500ms",
        "NILOMETER_LEVEL": " Detail ",
        "NILOMETER_LEVELS": "db=off,http.server=deep",
        "NILOMETER_JOIN": "yes",
        "NILOMETER_DIMENSIONS": "tier=gold,attempt=3",
        "NILOMETER_SERIES_MAX": "7",
        "NILOMETER_REGION": "r1",
        "NILOMETER_TRACE_KEYS": "0123456789,abcdefghij",
        "NILOMETER_INTEGRATIONS_OFF": "threads",
    }
    arguments = {
        "service": "s",
        "export": ["log://", "statsd://127.0.0.1:8125"],
        "interval_s": 2.5,
        "level": Level.DETAIL,
        "levels": {"db": Level.OFF, "http.server": "deep"},
        "join": True,
        "dimensions": {"tier": "gold", "attempt": 3, "region": "r1"},
        "series_max": 7,
        "trace_keys": ["0123456789", b"abcdefghij"],
        "integrations_off": ["threads"],
    }
    (tmp_path / "empty").mkdir()
    found = [
        settings(tmp_path, toml=toml),
        load({}, environ=environ, directory=tmp_path / "empty"),
        load(arguments, environ={}, directory=tmp_path / "empty"),
    ]

    values = [{s.name: getattr(one, s.name) for s in SETTINGS} for one in found]
    assert values[0] == values[1] == values[2]
    assert values[0]["trace_keys"] == (b"0123456789", b"abcdefghij")


def test_the_token_file_goes_to_each_receiver_of_otlp_that_brings_no_token(tmp_path):
    file = tmp_path / "a token"
    file.write_text("a-token-of-ours\n")
    file.chmod(0o600)
    urls = [
        "otlp://c1:4318",
        "otlps://c2?timeout_s=3",
        "otlp://c3?token_file=",
        "otlp://c4?header=Authorization:Basic%20eA",
        "otlp://c5?header=X-Tenant:acme",
        "statsd://c6",
        "log://",
    ]
    found = settings(
        tmp_path, environ={"NILOMETER_TOKEN_FILE": str(file)}, export=urls, service="s"
    )

    ours = f"token_file={tmp_path}/a%20token"
    assert found.export == (
        f"otlp://c1:4318?{ours}",
        f"otlps://c2?timeout_s=3&{ours}",
        "otlp://c3?token_file=",
        "otlp://c4?header=Authorization:Basic%20eA",
        f"otlp://c5?header=X-Tenant:acme&{ours}",
        "statsd://c6",
        "log://",
    )
    assert found.origins["token_file"] == "NILOMETER_TOKEN_FILE"


def test_a_token_file_that_cannot_be_read_is_told_with_where_it_was_named(tmp_path):
    environ = {"NILOMETER_TOKEN_FILE": "/there/is/none", "NILOMETER_EXPORT": "otlp://c1"}

    assert settings(tmp_path, environ={**environ, "NILOMETER_EXPORT": "log://"}).export == (
        "log://",
    )
    assert fault(tmp_path, environ=environ) == (
        "NILOMETER_EXPORT, with NILOMETER_TOKEN_FILE: 'otlp://c1?token_file=/there/is/none': "
        "token_file /there/is/none: No such file or directory [bad-exporter-url]"
    )


def test_all_faults_are_told_together_each_with_origin_and_the_nearest(tmp_path):
    told = fault(
        tmp_path,
        toml='servce = "x"\n[levels]\ndb = "detial"\n',
        environ={"NILOMETER_SERVCE": "y", "NILOMETER_EXPORT": "statd://c1,otlp://c1?timeout=3"},
        interval_s="soon",
        trace_keys=["short"],
    )

    lines = [line.strip() for line in told.splitlines()]
    assert lines[0] == "7 settings cannot be used:"
    assert [line.partition(": ")[0] for line in lines[1:-1]] == [
        "nilometer.toml:1",
        "NILOMETER_SERVCE",
        "nilometer.toml:2",
        "configure(interval_s=...)",
        "configure(trace_keys=...)",
        "NILOMETER_EXPORT",
        "NILOMETER_EXPORT",
    ]
    assert "did you mean 'service'?" in lines[1]
    assert "did you mean 'NILOMETER_SERVICE'?" in lines[2]
    assert "did you mean 'detail'?" in lines[3]
    assert "did you mean 'statsd'?" in lines[6]
    assert "did you mean 'timeout_s'?" in lines[7]
    assert lines[-1] == "[bad-settings]"


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("service = 3", "nilometer.toml:1: service: 3 is not text [bad-setting]"),
        (
            "\n\nseries_max = 1.5",
            "nilometer.toml:3: series_max: 1.5 is not a whole number [bad-setting]",
        ),
        ("series_max = 0", "out of bounds; from 1 to 1e+06"),
        ("interval_s = true", "True is not a number"),
        ("interval_s = nan", "out of bounds"),
        ("join = 'maybe'", "'maybe' is neither true nor false"),
        ("export = 'x' \nexport = 'y'", "nilometer.toml: Cannot overwrite a value"),
        ("dimensions = 'tier'", "'tier' has no '='"),
        ("dimensions = { a = { b = 1 } }", "holds a table or a list"),
        ('service = "a\\u0007b"', "characters that cannot be printed"),
        ("level = 2", "is not a level"),
        ("export = ['log://', 'log://']", "the same URL twice"),
        ("trace_key_file = '/there/is/none'", "No such file or directory [bad-key-file]"),
    ],
)
def test_a_wrong_value_is_refused_with_file_and_line(tmp_path, toml, told):
    assert told in fault(tmp_path, toml=toml)


def test_a_file_that_is_named_must_be_there(tmp_path):
    told = fault(tmp_path, environ={"NILOMETER_CONFIG": "/there/is/none.toml"})

    assert told == (
        "NILOMETER_CONFIG: /there/is/none.toml: No such file or directory [bad-settings-file]"
    )


def test_the_errors_origin_is_whatever_named_the_file(tmp_path):
    with pytest.raises(ConfigError) as refused:
        load(
            {},
            environ={"NILOMETER_CONFIG": "/passed/over.toml"},
            directory=tmp_path,
            argument_origin="--{}".format,
            file="/there/is/none.toml",
        )

    assert str(refused.value) == (
        "--config: /there/is/none.toml: No such file or directory [bad-settings-file]"
    )


@pytest.mark.parametrize("kind", ["directory", "dead link"])
def test_what_lies_there_under_the_files_name_and_is_no_file_is_told(tmp_path, kind):
    place = tmp_path / "nilometer.toml"
    place.mkdir() if kind == "directory" else place.symlink_to(tmp_path / "gone.toml")

    why = {"directory": "Is a directory", "dead link": "No such file or directory"}[kind]
    assert fault(tmp_path) == f"nilometer.toml: {why} [bad-settings-file]"


@pytest.mark.parametrize("variable", [setting.variable for setting in SETTINGS])
def test_an_empty_variable_is_as_good_as_none(tmp_path, variable):
    toml = 'service = "shop"\nlevel = "detail"\nexport = ["log://"]\n'
    said = settings(tmp_path, toml=toml)

    assert settings(tmp_path, environ={variable: "", "NILOMETER_CONFIG": ""}) == said


def test_a_file_that_is_named_is_read_instead(tmp_path):
    (tmp_path / "nilometer.toml").write_text('service = "a"')
    (tmp_path / "other.toml").write_text('service = "b"')
    found = settings(tmp_path, environ={"NILOMETER_CONFIG": str(tmp_path / "other.toml")})

    assert (found.service, found.origin("service")) == ("b", f"{tmp_path / 'other.toml'}:1")


def test_keys_come_from_a_file_that_nobody_else_can_read(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# to sign with\nfirst-key-0123\n\nsecond-key-0123\n")
    file.chmod(0o640)

    found = settings(tmp_path, trace_key_file=file, trace_keys=["given-key-0123"])

    assert found.trace_keys == (b"given-key-0123", b"first-key-0123", b"second-key-0123")
    file.chmod(0o644)
    told = fault(tmp_path, trace_key_file=file)
    assert told == (
        f"configure(trace_key_file=...): {file} is open to every user of this machine (mode "
        f"644); close it with: chmod 600 {file} [bad-key-file]"
    )


def test_a_key_in_a_variable_that_is_not_utf_8_is_told_by_its_place(tmp_path):
    """Python gives bytes that it cannot read as lone surrogates."""
    key = os.fsdecode(b"topsecret\xff")
    with pytest.raises(ConfigError) as refused:
        load({}, environ={"NILOMETER_TRACE_KEYS": f"good-key-0123,{key}"}, directory=tmp_path)

    assert str(refused.value) == (
        "NILOMETER_TRACE_KEYS: key 2 is not UTF-8; a key of other bytes can stand in "
        "trace_key_file [bad-key]"
    )
    assert "topsecret" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "keys", ["topsecret", ["topsecret", "short"], ["topsecret", 7], 7, ["topsecret\ud800"]]
)
def test_no_error_no_repr_and_no_list_shows_a_key(tmp_path, keys):
    try:
        shown = settings(tmp_path, trace_keys=keys)
    except ConfigError as refused:
        text = str(refused) + repr(refused.__context__)
    else:
        text = repr(shown) + repr(shown.shown())

    assert "topsecret" not in text


@given(
    st.dictionaries(
        st.sampled_from([s.variable for s in SETTINGS if s.name != "trace_key_file"]), st.text()
    )
)
def test_any_environment_is_settings_or_a_settings_error(environ):
    try:
        found = load({}, environ=environ, directory=Path("/nonexistent"))
    except ConfigError as refused:
        told = str(refused)
    else:
        told = repr(found)

    assert told


@given(st.text())
def test_any_file_is_settings_or_a_settings_error(tmp_path_factory, text):
    directory = tmp_path_factory.mktemp("settings")
    (directory / "nilometer.toml").write_text(text, encoding="utf-8", errors="replace")
    try:
        found = load({}, environ={}, directory=directory)
    except ConfigError as refused:
        told = str(refused)
    else:
        told = repr(found)

    assert told


def test_a_file_that_is_not_text_is_a_settings_error(tmp_path):
    (tmp_path / "nilometer.toml").write_bytes(os.urandom(100) + b"\xff")

    assert fault(tmp_path).startswith("nilometer.toml: ")


def test_a_service_without_a_name_gets_that_of_its_program(tmp_path, monkeypatch):
    named = {}
    for program in ("/srv/shop.py", "/usr/bin/gunicorn", "-c", "", "/srv/shop/__main__.py"):
        monkeypatch.setattr("sys.argv", [program])
        named[program] = settings(tmp_path).service

    assert named == {
        "/srv/shop.py": "shop",
        "/usr/bin/gunicorn": "gunicorn",
        "-c": "unknown_service",
        "": "unknown_service",
        "/srv/shop/__main__.py": "shop",
    }


def test_table_arguments_and_settings_name_the_same():
    names = [setting.name for setting in SETTINGS]

    assert list(Arguments.__annotations__) == names
    assert [name for name in fields_of_settings() if name != "origins"] == names


def fields_of_settings():
    return list(inspect.signature(Settings).parameters)


def test_the_defaults_in_the_docs_are_those_in_the_code():
    plain = {"service", "trace_keys"}  # told in words
    for setting in SETTINGS:
        default = getattr(Settings(), setting.name)
        told = setting.default
        if setting.name in plain:
            continue
        if told in ("none", '""'):
            assert not default, setting.name
        else:
            assert setting.parse(told, "docs") == default, setting.name


def test_the_budget_defaults_are_those_of_the_triggers():
    from nilometer.export.outlet import ROWS_MAX
    from nilometer.export.pump import INTERVAL_S
    from nilometer.measure.registry import SERIES_MAX
    from nilometer.trace.trigger import Triggers

    parameters = inspect.signature(Triggers).parameters
    ours = Settings()

    assert ours.requests_per_second == parameters["requests_per_second"].default
    assert ours.spans_per_trace == parameters["spans_per_trace"].default
    assert ours.join == parameters["join"].default
    assert ours.osprofiler == parameters["osprofiler"].default
    assert (ours.series_max, ours.queue_rows) == (SERIES_MAX, ROWS_MAX)
    assert ours.interval_s == INTERVAL_S


def test_the_settings_in_the_docs_are_generated_from_the_table():
    page = (DOCS / "settings.md").read_text()

    assert setting_table.as_markdown() in page


@pytest.mark.slow
def test_a_type_checker_finds_misspelt_and_mistyped_arguments(tmp_path, python):
    file = tmp_path / "service.py"
    file.write_text(
        "import nilometer\n"
        "nilometer.configure(service='s', export=['log://'], level=nilometer.DETAIL)\n"
        "nilometer.counter('a').bind(tenant='acme').add(3)\n"
        "nilometer.configure(servce='s')\n"
        "nilometer.configure(series_max='many')\n"
    )
    checked = subprocess.run(
        [python, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=",
         f"--cache-dir={tmp_path / 'cache'}", file],
        capture_output=True, text=True, check=False,
        env={**os.environ, "MYPYPATH": str(DOCS.parent / "src")},
    )  # fmt: skip

    wrong = [line.split(":")[1] for line in checked.stdout.splitlines() if ": error:" in line]
    assert wrong == ["4", "5"], checked.stdout


def test_commands_and_services_read_one_file_each_what_is_meant_for_it(tmp_path):
    (tmp_path / "nilometer.toml").write_text(
        'service = "shop"\nbackends = ["mysql://me:s3cret@db"]\nsuite = "unit"\n'
    )

    service = load(environ={}, directory=tmp_path)
    commands = load_for_commands(environ={"NILOMETER_HISTORY": "/h"}, directory=tmp_path)

    assert service.service == "shop"
    assert (commands.backends, commands.suite) == (("mysql://me:s3cret@db",), "unit")
    assert (commands.history, commands.origin("history")) == ("/h", "NILOMETER_HISTORY")
    assert commands.origin("backends") == "nilometer.toml:2"
    assert "s3cret" not in repr(commands)


def test_a_misspelt_setting_of_a_command_is_told_with_the_nearest(tmp_path):
    (tmp_path / "nilometer.toml").write_text('backend = ["mysql://db"]\n')

    with pytest.raises(ConfigError, match="did you mean 'backends'"):
        load_for_commands(environ={}, directory=tmp_path)


@pytest.mark.parametrize("toml", ['export = "a\\u0007?t=S3CRET"', "export = {a = 'S3CRET'}"])
def test_what_is_wrong_with_a_list_of_urls_is_told_without_them(tmp_path, toml):
    assert fault(tmp_path, toml=toml) == (
        "nilometer.toml:1: export: not a list of URLs [bad-setting]"
    )
