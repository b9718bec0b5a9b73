"""Patches and Tach's files: read into the same values, refused with place and nearest one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.config import load
from nilometer.errors import ConfigError
from nilometer.model import Level
from nilometer.model.patch import ArgumentPath, Patch, Step
from nilometer.setting_patches import patches
from nilometer.setting_tach import read

FILE = """
service = "compute"

[[patch]]
target = "nova.compute.manager:ComputeManager.*instance*"
make = "timer"
name = "nova.compute.{function}"
level = "detail"
dimensions = { project = "context.project_id", host = "instance[host]" }

# Of the second, the place is its own.
[[patch]]
target = "nova.objects:*.save"
make = "counter"
amount = 2
hook = "nova_telemetry.hooks:tenant"
result_hook = "tenant"

[levels]
nova = "detail"
"""


def settings(tmp_path, toml="", environ=None, **arguments):
    if toml:
        (tmp_path / "nilometer.toml").write_text(toml)
    return load(arguments, environ=environ or {}, directory=tmp_path)


def fault(tmp_path, **given_):
    with pytest.raises(ConfigError) as refused:
        settings(tmp_path, **given_)
    return str(refused.value)


def test_a_table_is_a_patch_and_remembers_its_line(tmp_path):
    found = settings(tmp_path, FILE)

    assert found.patch == (
        Patch(
            "nova.compute.manager",
            ("ComputeManager", "*instance*"),
            "timer",
            "nova.compute.{function}",
            Level.DETAIL,
            (
                ("project", ArgumentPath("context", (Step("project_id", False),))),
                ("host", ArgumentPath("instance", (Step("host", True),))),
            ),
            origin="nilometer.toml:4",
        ),
        Patch(
            "nova.objects",
            ("*", "save"),
            "counter",
            hook="nova_telemetry.hooks:tenant",
            result_hook="tenant",
            amount=2,
            origin="nilometer.toml:12",
        ),
    )
    assert found.origin("patch") == "nilometer.toml:4"


def test_targets_alone_read_alike_from_file_environment_and_arguments(tmp_path):
    expected = [("m:f", "timer"), ("m.n:C.*", "counter")]
    written = ["m:f", "m.n:C.*=counter"]
    (tmp_path / "empty").mkdir()
    found = [
        settings(tmp_path, f"patch = {written}"),
        settings(tmp_path / "empty", environ={"NILOMETER_PATCH": "m:f, m.n:C.*=counter"}),
        settings(tmp_path / "empty", patch=written),
        settings(tmp_path / "empty", patch=[{"target": "m:f"}, written[1]]),
    ]

    assert [[(str(p), p.make) for p in one.patch] for one in found] == [expected] * 4


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('target = "m.f"', "target 'm.f' has no ':' between module and name"),
        ('target = "m.*:f"', "has a pattern in its module: each module is named in full"),
        ('target = "m:"', "has no names, or patterns of names, after its ':': ''"),
        ('target = "m:a..b"', "has no names, or patterns of names, after its ':': 'a..b'"),
        ('target = ":f"', "has no module's name before its ':': ''"),
        ("target = 3", "3 is not text"),
        ('target = "nilometer.measure:*"', "is in Nilometer, which measures itself"),
        ('target = "builtins:len"', "is what Nilometer itself is made of"),
        ('make = "timer"', "a patch without its target, as in module:Class.function"),
        ('target = "m:f"\nmake = "tmer"', "cannot make 'tmer'; did you mean 'timer'? (timer,"),
        ('target = "m:f"\nlevle = "off"', "a patch has no 'levle'; did you mean 'level'?"),
        ('target = "m:f"\nlevel = "detial"', "no level 'detial'; did you mean 'detail'?"),
        ('target = "m:f"\nname = "a.{clas}"', "no {clas} to fill in; did you mean 'class'?"),
        ('target = "m:f"\nname = "a.{class"', "name 'a.{class': expected '}'"),
        ('target = "m:f"\nname = "a.{class:d}"', "name 'a.{class:d}': Unknown format code"),
        ('target = "m:f"\ndimensions = { a = "b..c" }', "'b..c' is no path into a call"),
        ('target = "m:f"\ndimensions = "a"', "'a' has no '='"),
        ('target = "m:f"\namount = 2', "an amount is for counters, this is a timer"),
        ('target = "m:f"\nmake = "counter"\namount = 0', "0 is out of bounds"),
        ('target = "m:f"\nhook = "a:b c"', "neither module:function nor an entry point"),
        (
            'target = "m:f"\nmake = "event"\ndimensions = { a = "return" }',
            "an event tells what was raised, and then there is no result",
        ),
    ],
)
def test_a_patch_that_cannot_be_used_is_refused_with_its_line(tmp_path, table, told):
    said = fault(
        tmp_path, toml=f'service = "s"\n\n[[patch]]\ntarget = "m:g"\n\n[[patch]]\n{table}\n'
    )

    assert said.startswith("nilometer.toml:6: ")
    assert told in said


def test_all_faults_of_all_patches_are_told_together(tmp_path):
    said = fault(tmp_path, toml='[[patch]]\ntarget = "m"\n[[patch]]\nmake = "timer"\n')

    assert [line.strip().partition(": ")[0] for line in said.splitlines()[1:3]] == [
        "nilometer.toml:1",
        "nilometer.toml:3",
    ]


def test_no_patches_load_nothing_of_patching(python_says):
    loaded = python_says(
        "import sys, nilometer; nilometer.configure(); "
        "print([n for n in sys.modules if 'patch' in n and n.startswith('nilometer')"
        " or 'tach' in n])"
    )

    assert loaded == "[]"


@pytest.fixture
def python_says(tmp_path):
    import os
    import subprocess
    import sys

    def say(program):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("NILOMETER_")}
        ran = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path, env=clean, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return ran.stdout.strip()

    return say


@given(
    st.recursive(
        st.text() | st.integers() | st.booleans() | st.none(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["target", "make", "name", "dimensions", "hook", "amount", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_anything_that_is_written_is_patches_or_a_settings_error(value):
    try:
        found = patches(value, "here")
    except ConfigError as refused:
        told = str(refused)
    else:
        told = "here" * all(isinstance(one, Patch) for one in found)

    assert "here" in told


# --- Tach -------------------------------------------------------------------------------------

TACH = """
[global]
app_helper = helpers.tach

[notifier]
driver = tach.notifiers.StatsDNotifier
host = 127.0.0.1
port = 8125

[notifier:carbon]
driver = tach.notifiers.DebugNotifier
real_driver = tach.notifiers.GraphiteNotifier
host = carbon.internal
port = 2003

[statsd.config]
statsd_host = 127.0.0.1
statsd_port = 8125

[notifier:events]
driver = tach.notifiers.StackTachNotifier
url = http://stacktach

[nova.api.{path}]
module = nova.api.openstack.wsgi.Resource
method = _process_stack
metric = tach.metrics.ExecTime
notifier = carbon
app = process_stack
bump_transaction_id = true

[legacy]
module = nova
method = boot
metric = statsd_incr
increment = 4

[down]
module = nova
method = halt
metric = statsd_decr

[foreign]
module = nova
method = halt
metric = mine.Histogram
"""


def written(tmp_path, text):
    path = tmp_path / "tach.conf"
    path.write_text(text)
    return str(path)


def test_a_file_of_tach_s_becomes_patches_exporters_and_notes(tmp_path):
    path = written(tmp_path, TACH)
    tach = read(path, "--tach")
    common = {"name": "nova.api.{{path}}", "hook": "helpers.tach:process_stack"}
    common |= {"origin": f"{path}:24", "tach": True, "either": True}
    counted = {"name": "legacy", "origin": f"{path}:32", "tach": True, "either": True}

    assert tach.patches == (
        Patch("nova.api.openstack.wsgi.Resource", ("_process_stack",), "timer", **common),
        Patch("nova.api.openstack.wsgi", ("Resource", "_process_stack"), "timer", **common),
        Patch("nova", ("boot",), "counter", amount=4, **counted),
    )
    assert tach.patches[0].name_of("_process_stack") == "nova.api.{path}"
    assert tach.export == ("statsd://127.0.0.1:8125", "graphite://carbon.internal:2003")
    assert tach.notes == (
        f"{path}:24: bump_transaction_id: batches have no transactions; left out",
        f"{path}:38: down: counters only go up, not by -1; left out",
        f"{path}:43: foreign: no metric like 'mine.Histogram'; left out",
        f"{path}:20: notifier:events: no exporter is like 'StackTachNotifier'; set `export`",
    )


def test_a_file_of_tach_s_is_read_as_python_2_read_it(tmp_path):
    path = written(
        tmp_path,
        "[DEFAULT]\nwhere = carbon.internal\n"
        "[global]\napp_helper = helpers.tach\nsetup_module = environment\n"
        "[notifier]\ndriver = tach.notifiers.GraphiteNotifier ; not by UDP\n"
        "host = %(where)s\nport = 2003\n"
        "[boot]\nmodule = nova ; all of it\nmethod = boot\nmetric = tach.metrics.ExecTime\n",
    )
    tach = read(path, "--tach")

    assert tach.export == ("graphite://carbon.internal:2003",)
    assert [str(patch) for patch in tach.patches] == ["nova:boot"]
    because = "environment is not imported: a patch waits for its module; left out"
    assert tach.notes == (f"{path}:3: setup_module: {because}",)


def test_tach_s_notifiers_are_used_where_nothing_is_said_of_exporters(tmp_path):
    path = written(tmp_path, TACH)
    alone = settings(tmp_path, tach_config=path)
    beside = settings(tmp_path, tach_config=path, export=["log://"], patch=["a:b"])

    assert alone.export == ("statsd://127.0.0.1:8125", "graphite://carbon.internal:2003")
    assert (alone.origin("export"), alone.origin("patch")) == (
        path,
        "configure(tach_config=...)",
    )
    assert beside.export == ("log://",)
    assert [str(patch) for patch in beside.patch][::3] == ["a:b", "nova:boot"]
    assert ("tach_config", path, "configure(tach_config=...)") in alone.shown()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a]\nmodule = m\n", "tach.conf:1: method 'a' lacks method, metric"),
        (
            "[a]\nmodule = m\nmethod = f\nmetric = ExecTime\napp = g\n",
            "tach.conf:1: 'g' has no app_helper to be in",
        ),
        (
            "[a]\nmodule = m\nmethod = f\nmetric = Increment\nincrement = two\n",
            "tach.conf:1: increment 'two' is not a whole number",
        ),
        ("[a]\nmodule = m-n\nmethod = f\nmetric = ExecTime\n", "are no names of Python's"),
        (
            "\n[notifier]\ndriver = x.StatsDNotifier\nhost = h\n",
            "tach.conf:2: notifier 'notifier' lacks host or port",
        ),
        ("[a]\nmodule = %(b)s\n", "tach.conf: [a] module: Bad value substitution"),
        ("[a]\nmodule = 100%\n", "tach.conf: [a] module: '%' must be followed by"),
        ("what = this\n", "File contains no section headers"),
        ("\x00", "File contains no section headers"),
    ],
)
def test_a_file_of_tach_s_that_cannot_be_used_is_refused_with_its_line(tmp_path, text, told):
    said = fault(tmp_path, tach_config=written(tmp_path, text))

    assert told in said
    assert said.rstrip().endswith("[bad-tach-file]")


def test_a_file_of_tach_s_that_is_not_there_is_told(tmp_path):
    assert fault(tmp_path, environ={"NILOMETER_TACH_CONFIG": "/there/is/none"}) == (
        "NILOMETER_TACH_CONFIG: /there/is/none: No such file or directory [bad-tach-file]"
    )


@given(st.text())
def test_any_text_is_a_file_of_tach_s_or_a_settings_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("tach") / "tach.conf"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        told = str(read(str(path), "here"))
    except ConfigError as refused:
        told = str(refused)

    assert str(path) in told
