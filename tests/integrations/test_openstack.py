"""oslo.config and PasteDeploy: what a service's own files say of us is followed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from textwrap import dedent

import pytest
from oslo_config import cfg, generator
from osprofiler import initializer, notifier, profiler, web
from osprofiler.drivers.base import get_driver
from paste.deploy import loadapp

from nilometer import assembly
from nilometer.errors import ConfigError
from nilometer.integrations import oslo_config
from nilometer.integrations import osprofiler as drop_in
from nilometer.integrations.osprofiler import group
from nilometer.measure import REGISTRY
from nilometer.model import Level
from nilometer.openstack import options
from nilometer.setting_table import SETTINGS
from nilometer.trace import Trace, drain_spans, span, start_root
from nilometer.trace.trigger import Triggers
from tests.brokers import reachable_folder, redis  # noqa: F401  fixtures
from tests.integrations.test_osprofiler import BASE, PARENT, served, signed

KEY = "a key of the operator's"


@pytest.fixture(autouse=True)
def _nothing_left():
    options._followed = {}
    yield
    assembly.shutdown()
    drop_in.uninstall()
    drop_in.apply(group.ProfilerGroup())
    oslo_config.uninstall()
    for prefix, *_ in group.SWITCHES.values():
        REGISTRY.set_level(prefix, Level.BASIC)
    drain_spans()


@pytest.fixture
def service(tmp_path):
    """A service's configuration, read from a file of these lines."""

    def read(*lines):
        path = tmp_path / "service.conf"
        path.write_text("\n".join(lines) + "\n")
        conf = cfg.ConfigOpts()
        conf(["--config-file", str(path)])
        return conf

    return read


def profiler_conf(service, *lines):
    """The same with OSProfiler's options registered, as a service that uses it has them."""
    conf = service("[profiler]", *lines)
    conf.register_opts(options.profiler_options(), group="profiler")
    return conf


def test_every_setting_is_an_option_and_only_secrets_are_secret():
    made = {option.name: option.secret for option in options.settings_options()}

    assert made == {setting.name: setting.secret for setting in SETTINGS}


def test_the_sample_generator_of_oslo_config_shows_them(tmp_path):
    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    path = tmp_path / "sample.conf"
    conf(["--namespace", "nilometer", "--output-file", str(path)])
    generator.generate(conf)

    sample = path.read_text()
    assert [
        name for name in ("[nilometer]", "[profiler]", "[statsd]") if name not in sample
    ] == []
    assert [s.name for s in SETTINGS if f"#{s.name} = " not in sample] == []
    assert [name for name, _ in options.SWITCHES if f"#{name} = true" not in sample] == []


def test_a_group_of_our_settings_configures_us(service, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    keys.chmod(0o600)
    conf = service(
        "[nilometer]",
        "service = zaqar",
        "levels = db=off,http=deep",
        f"trace_key_file = {keys}",
        "osprofiler_values = true",
    )

    options.configure(conf)

    settings = assembly.current().settings
    assert (settings.service, settings.osprofiler_values) == ("zaqar", True)
    assert settings.levels == {"db": Level.OFF, "http": Level.DEEP}
    assert settings.trace_keys == (KEY.encode(),)


def test_what_cannot_be_used_is_told_with_file_and_group(service, tmp_path):
    conf = service("[nilometer]", "level = detial")

    with pytest.raises(ConfigError, match=r"service.conf \[nilometer\] level.*'detail'"):
        options.configure(conf)


def test_a_service_that_knows_nothing_of_us_runs_on_and_it_is_said(service, caplog):
    oslo_config.install(read_options=options.follow)

    conf = service("[nilometer]", "level = detial")

    assert "[nilometer] level" in caplog.text
    assert conf.config_file[0].endswith("service.conf")


def test_a_service_s_files_are_followed_when_it_reads_them_and_variables_win(
    service, monkeypatch
):
    monkeypatch.setenv("NILOMETER_SERVICE", "from the variable")
    oslo_config.install(read_options=options.follow)

    service("[nilometer]", "service = from the file", "region = north")

    settings = assembly.current().settings
    assert (settings.service, settings.region) == ("from the variable", "north")


def test_a_misspelt_setting_of_the_group_is_refused_with_the_nearest(service):
    conf = service("[nilometer]", "exprot = log://", "level = detail")

    with pytest.raises(ConfigError, match=r"service.conf \[nilometer\] exprot.*'export'"):
        options.configure(conf)


@pytest.mark.parametrize(
    ("lines", "export"),
    [
        (["enable = true"], ["monasca-statsd://127.0.0.1:8125"]),
        (["host = ::1", "port = 9125"], ["monasca-statsd://[::1]:9125"]),
        (["enable = false", "host = 127.0.0.1"], []),
        ([], []),
    ],
)
def test_the_group_statsd_sends_to_monasca_s_agent_beside_whom_else_is_told(
    service, lines, export
):
    oslo_config.install(read_options=options.follow)

    service("[nilometer]", "export = log://", "[statsd]", *lines)
    once = assembly.current().settings.export
    service("[nilometer]", "export = log://", "[statsd]", *lines)

    assert list(once) == list(assembly.current().settings.export) == ["log://", *export]


def test_the_group_statsd_leaves_what_the_variables_export_and_a_wrong_one_is_told(
    service, monkeypatch, caplog
):
    monkeypatch.setenv("NILOMETER_EXPORT", "log://")
    assembly.configure({})
    oslo_config.install(read_options=options.follow)

    service("[statsd]", "port = 0815a")
    told = caplog.text
    service("[statsd]", "port = 8126")

    assert "[statsd] is not followed" in told
    assert assembly.current().settings.export == ("log://", "monasca-statsd://127.0.0.1:8126")


def test_what_the_service_s_own_options_say_is_filled_in(tmp_path, caplog):
    oslo_config.install(read_options=options.follow)
    path = tmp_path / "service.conf"
    path.write_text(
        f"[DEFAULT]\nstate_path = {tmp_path}\n[place]\nregion = north\n"
        "[nilometer]\nexport = file://$state_path/out.jsonl\nregion = ${place.region}\n"
    )
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.StrOpt("state_path", default="/nowhere")])
    conf.register_opts([cfg.StrOpt("region")], group="place")

    conf(["--config-file", str(path)])

    settings = assembly.current().settings
    assert (settings.export, settings.region) == ((f"file://{tmp_path}/out.jsonl",), "north")
    assert caplog.text == ""


def test_one_option_that_cannot_be_read_takes_no_other_group_s_along(service, caplog):
    oslo_config.install(read_options=options.follow)

    service(
        *("[nilometer]", "export = file://$nobody/x", "region = $$", "[profiler]"),
        *("enabled = maybe", "trace_pooling = perhaps", "trace_redis = false"),
    )

    told = [line for line in caplog.text.splitlines() if "[bad-setting]" in line]
    named = ("service.conf [nilometer] export: ", "[profiler] trace_pooling is", "] enabled is")
    assert [[name in line for name in named].count(True) for line in told] == [1, 1, 1]
    assert "[integration-fails]" not in caplog.text
    assert REGISTRY.level_of("integrations.redis") is Level.OFF
    assert REGISTRY.level_of("pooling") is Level.BASIC


def test_the_service_s_own_object_is_left_alone(service):
    oslo_config.install(read_options=options.follow)
    conf = service("[profiler]", "enabled = true", f"hmac_keys = {KEY}")

    conf.register_opts([cfg.StrOpt("enabled"), cfg.IntOpt("hmac_keys")], group="profiler")
    conf.register_opts([cfg.IntOpt("level")], group="nilometer")


def test_what_fails_in_following_leaves_the_service_as_it_is(service, caplog):
    def broken(conf):
        raise RuntimeError("ours")

    assert oslo_config.install(read_options=broken)
    assert not oslo_config.install(read_options=broken)

    service("[DEFAULT]")

    assert "[integration-fails]" in caplog.text


# --- [profiler] -------------------------------------------------------------------------------


def init(conf):
    initializer.init_from_conf(conf, None, "Zaqar", "Zaqar-server", "here")


def test_disabled_is_disabled_also_where_a_service_initialises_regardless(service):
    drop_in.install(triggers=Triggers())
    init(profiler_conf(service, "enabled = false", f"hmac_keys = {KEY}"))
    app = web.WsgiMiddleware(lambda *_: [b"ok"], hmac_keys="", enabled=True)

    assert served(app, **signed(key=KEY)) == b"ok"
    assert drain_spans() == ()


def test_enabled_its_keys_open_a_trace(service):
    drop_in.install(triggers=Triggers())
    init(profiler_conf(service, "enabled = true", f"hmac_keys = K0,{KEY}"))
    app = web.WsgiMiddleware(lambda *_: [b"ok"])

    served(app, **signed(key=KEY))

    assert [one.name for one in drain_spans()] == ["GET"]


def test_its_keys_open_a_trace_also_where_osprofiler_is_not(service):
    oslo_config.install(read_options=options.follow)
    assembly.configure({})

    service("[profiler]", "enabled = true", f"hmac_keys = {KEY}")
    triggers = assembly.current().triggers

    assert isinstance(triggers.handed(KEY, BASE, own=True), Trace)
    service("[profiler]", f"hmac_keys = another of {KEY}")
    assert triggers.handed(f"another of {KEY}", BASE, own=True) is None


@pytest.mark.parametrize(("lines", "traced"), [([], 0), (["hmac_keys = SECRET_KEY"], 1)])
def test_the_default_key_opens_a_trace_only_where_an_operator_wrote_it_down(
    service, lines, traced, caplog, monkeypatch
):
    monkeypatch.setattr(group, "_refused", set())
    drop_in.install(triggers=Triggers())
    conf = profiler_conf(service, "enabled = true", *lines)
    group.read(conf)
    init(conf)

    served(web.WsgiMiddleware(lambda *_: [b"ok"]), **signed(key="SECRET_KEY"))

    assert len(drain_spans()) == traced
    assert caplog.text.count("[osprofiler-default-key]") == (0 if traced else 1)


def test_a_driver_that_somebody_chose_is_told_by_the_pump(service, monkeypatch):
    told = []
    monkeypatch.setattr(notifier, "create", lambda *args, **kwargs: told.append)
    assembly.configure({"integrations": ["osprofiler"], "trace_keys": [KEY]})
    init(
        profiler_conf(
            service, "enabled = true", f"hmac_keys = {KEY}", "connection_string = redis://"
        )
    )

    served(web.WsgiMiddleware(lambda *_: [b"ok"]), **signed(key=KEY))

    assert told == []
    assert assembly.flush(5)
    assert [one["name"] for one in told] == ["GET-start", "GET-stop"]
    assert told[0]["info"]["request"]["path"] == "/v1"


@pytest.mark.real
def test_osprofiler_s_own_driver_keeps_what_its_own_report_shows(service, redis):  # noqa: F811
    """Its command would read the trace there, as ever."""
    assembly.configure({"integrations": ["osprofiler"], "trace_keys": [KEY]})
    url = f"redis://127.0.0.1:{redis.port}"
    lines = ("enabled = true", f"hmac_keys = {KEY}", f"connection_string = {url}")
    conf = profiler_conf(service, *lines)
    init(conf)

    @profiler.trace("my-work")
    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"ok"]

    served(web.WsgiMiddleware(app), **signed(key=KEY))
    assert assembly.flush(5)

    report = get_driver(url, conf=conf).get_report(BASE)
    [request] = report["children"]
    [work] = request["children"]
    told = work["info"]["meta.raw_payload.my-work-start"]
    assert (request["parent_id"], told["project"], told["service"]) == (
        PARENT, "Zaqar", "Zaqar-server",
    )  # fmt: skip
    assert told["info"]["function"]["name"].endswith("app")


def test_no_driver_is_made_of_a_default(service, monkeypatch):
    made = []
    monkeypatch.setattr(notifier, "create", lambda *args, **kwargs: made.append(args))
    drop_in.install(triggers=Triggers())

    init(profiler_conf(service, "enabled = true", f"hmac_keys = {KEY}"))

    assert made == []


PREFIXES = {switch: names[0] for switch, names in group.SWITCHES.items()}


@pytest.mark.parametrize("switch", group.SWITCHES)
def test_each_switch_stands_alone(service, switch):
    oslo_config.install(read_options=options.follow)

    service("[profiler]", "enabled = true", f"hmac_keys = {KEY}", f"{switch} = false")

    off = {s for s, prefix in PREFIXES.items() if REGISTRY.level_of(prefix) == Level.OFF}
    assert off == {switch}


@pytest.mark.parametrize(
    "switch", sorted(set(group.SWITCHES) - {"trace_wsgi_transport", "trace_requests"})
)
def test_each_switch_leaves_out_points_of_its_own_and_no_other(service, switch):
    oslo_config.install(read_options=options.follow)
    service("[profiler]", "enabled = true", f"hmac_keys = {KEY}", f"{switch} = false")
    drop_in.install(triggers=Triggers([KEY]))
    names = {
        "trace_sqlalchemy": "sqlalchemy_pools",
        "trace_redis": "redis_queue_controller",
        "trace_mongodb": "mongodb_queue_controller",
        "trace_pooling": "pooling_catalogue_controller",
    }

    profiler.init(KEY)
    for name in names.values():
        profiler.trace(name)(lambda: None)()
    profiler.clean()

    left = [name for which, name in names.items() if which != switch]
    assert [one.name for one in drain_spans()] == left


def test_a_switch_that_only_the_files_know_holds_also_after_the_service_s_own_start(service):
    drop_in.install(triggers=Triggers([KEY]))
    oslo_config.install(read_options=options.follow)
    conf = service(
        "[profiler]", "enabled = true", f"hmac_keys = {KEY}", "trace_pooling = false"
    )
    known = [one for one in options.profiler_options() if one.name in ("enabled", "hmac_keys")]
    conf.register_opts(known, group="profiler")

    init(conf)
    off = profiler.trace("pooling_catalogue_controller")(lambda: None)
    on = profiler.trace("redis_message_controller")(lambda: None)
    with start_root("request", request=Triggers([KEY]).begin()):
        off()
        on()

    assert [one.name for one in drain_spans()] == ["redis_message_controller", "request"]


def test_without_a_span_for_its_transport_a_request_is_traced_all_the_same(service):
    oslo_config.install(read_options=options.follow)
    service(
        "[profiler]", "enabled = true", f"hmac_keys = {KEY}", "trace_wsgi_transport = false"
    )
    drop_in.install(triggers=Triggers([KEY]))

    def app(environ, start_response):
        with span("inner"):
            start_response("200 OK", [])
        return [b"ok"]

    assert served(web.WsgiMiddleware(app, enabled=True), **signed(key=KEY)) == b"ok"

    [inner] = drain_spans()
    assert inner.name == "inner"
    assert inner.parent_id.hex() == "b6d70c9d1e2f3a4b"


def test_every_integration_that_a_switch_turns_off_is_one():
    names = set(PREFIXES.values()) - {"pooling"}  # that is patches of the operator's own

    assert [name for name in names if find_spec(f"nilometer.{name}") is None] == []


# --- PasteDeploy ------------------------------------------------------------------------------


def paste(tmp_path, *lines):
    ini = tmp_path / "api-paste.ini"
    ini.write_text(
        dedent("""
            [pipeline:main]
            pipeline = nilometer app

            [app:app]
            paste.app_factory = tests.integrations.test_openstack:app_factory

            [filter:nilometer]
            use = egg:nilometer#nilometer
            """)
        + "\n".join(lines)
    )
    return loadapp(f"config:{ini}")


def app_factory(global_conf, **local_conf):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"ok"]

    return app


def test_in_a_pipeline_the_filter_is_our_middleware(tmp_path):
    assembly.configure({"trace_keys": [KEY]})
    app = paste(tmp_path)

    assert served(app, **signed(key=KEY)) == b"ok"
    assert [one.name for one in drain_spans()] == ["GET"]


def test_settings_of_the_filter_hold(tmp_path):
    paste(tmp_path, f"trace_keys = {KEY}", "service = from paste")

    assert assembly.current().settings.service == "from paste"
    assert assembly.current().settings.trace_keys == (KEY.encode(),)


def test_a_wrong_setting_of_the_filter_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\[filter:nilometer\] levle.*'level'"):
        paste(tmp_path, "levle = deep")


@pytest.mark.slow
def test_under_nilometer_run_a_service_s_own_file_is_enough(tmp_path):
    conf = tmp_path / "service.conf"
    out = tmp_path / "out.jsonl"
    conf.write_text(
        f"[nilometer]\nexport = file://{out}\n[profiler]\nenabled = true\nhmac_keys = {KEY}\n"
    )
    program = tmp_path / "service.py"
    program.write_text(
        dedent("""
            import sys
            from oslo_config import cfg
            from osprofiler import profiler, web
            sys.path.insert(0, sys.argv[2])
            from tests.integrations.test_osprofiler import served, signed

            conf = cfg.ConfigOpts()
            conf(["--config-file", sys.argv[1]])

            @profiler.trace("work")
            def app(environ, start_response):
                start_response("200 OK", [])
                return [b"ok"]

            web.enable()
            served(web.WsgiMiddleware(app), **signed(key=sys.argv[3]))
            """)
    )
    from pathlib import Path

    root = str(Path(__file__).parents[2])
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "nilometer",
            "run",
            "--",
            sys.executable,
            program,
            conf,
            root,
            KEY,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert ran.returncode == 0, ran.stderr
    assert '"work"' in out.read_text()
