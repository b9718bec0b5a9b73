"""Which greenlets hold the hubs of gevent and eventlet, and how long those wait.

Each case is a function of hub_program.py, in a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("hub_program.py")
LIBRARIES = ("gevent", "eventlet")


@pytest.fixture(params=["python", "c"])
def twin(request):
    return request.param


def ran(library, case, twin="c", **variables):
    variable = "NILOMETER_PURE_PYTHON" if twin == "python" else "NILOMETER_REQUIRE_C"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", PROGRAM, library, case],
        env={**os.environ, variable: "1", **variables},
        cwd=PROGRAM.parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("library", LIBRARIES)
def test_which_greenlet_held_the_hub_is_told_by_name_line_and_time(library, twin):
    told = ran(library, "who_held", twin)
    first, second = told["lines"]

    assert sorted(told["slow"]) == [["computes", first, 250], ["yields_before", second, 150]]
    assert told["values"]["event_loop.blocked"] == 400


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_a_hub_does_itself_is_told_as_the_hub_s(library, twin):
    assert ran(library, "hub_itself", twin)["slow"] == [["hub", 0, 1000]]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_hub_that_waits_is_idle_and_holds_nobody(library, twin):
    told = ran(library, "waits", twin)

    assert told == {"slow": [], "values": {"event_loop.idle": 2000}}


@pytest.mark.parametrize("library", LIBRARIES)
def test_turns_are_timed_by_name_where_the_level_asks_for_it(library, twin):
    assert ran(library, "by_name", twin) == {"computes": 250, "yields_before": 150}


@pytest.mark.parametrize("library", LIBRARIES)
def test_greenlets_that_fail_or_are_killed_while_they_hold_the_hub_are_told(library, twin):
    names = {name: ms for name, _, ms in ran(library, "failing", twin)}

    assert names == {"fails": 200, "is_killed": 300}


@pytest.mark.parametrize(("library", "times"), [("gevent", 1), ("eventlet", 2)])
def test_what_a_pool_spawns_is_called_by_its_function(library, times):
    assert [one[0] for one in ran(library, "pool")] == ["computes"] * times


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("case", ["existing", "threads"])
def test_hubs_that_run_already_and_those_of_threads_are_measured(library, case):
    assert [one[0] for one in ran(library, case)] == ["computes"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_uninstalled_while_a_hub_runs_nothing_is_left_behind(library, twin):
    again, seen, same, left, followers, slow = ran(library, "uninstalled", twin)

    assert (again, seen, same, left, followers, slow) == (False, [True], True, [], 0, [])


@pytest.mark.parametrize("library", LIBRARIES)
def test_installed_again_at_once_only_the_last_one_is_there(library, twin):
    alone, gone, left, slow = ran(library, "again_and_again", twin)

    assert (alone, gone, left, [one[0] for one in slow]) == (True, True, [], ["computes"])


@pytest.mark.parametrize("library", LIBRARIES)
def test_at_level_off_no_switch_is_told_us_until_it_is_on_again(library, twin):
    seen, slow = ran(library, "off_and_on", twin)

    assert (seen, [one[0] for one in slow]) == ([False, True], ["computes"])


@pytest.mark.parametrize("library", LIBRARIES)
def test_others_who_trace_switches_hear_of_all_of_them(library, twin):
    slow, heard_alike = ran(library, "others", twin)

    assert ([one[0] for one in slow], heard_alike) == (["computes"], True)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_forked_child_s_hub_is_measured(library):
    assert ran(library, "forked") == 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_fault_of_ours_stops_no_greenlet(library):
    assert ran(library, "faulty") == 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_a_request_s_greenlet_held_is_told_as_the_request_s(library):
    assert ran(library, "request") == ["1" * 16]


def test_gevent_s_libuv_tells_who_held_it_and_not_when_it_waits():
    told = ran("gevent", "who_held", GEVENT_LOOP="libuv")

    assert sorted(name for name, _, _ in told["slow"]) == ["computes", "yields_before"]
    assert ran("gevent", "hub_itself", GEVENT_LOOP="libuv") == {"slow": [], "values": {}}


def test_eventlet_s_hub_upon_asyncio_is_not_held_by_its_waiting():
    assert ran("eventlet", "hub_itself", EVENTLET_HUB="asyncio")["slow"] == []


@pytest.mark.parametrize("hub", ["poll", "selects", "asyncio"])
def test_eventlet_s_other_hubs_tell_who_held_them(hub):
    told = ran("eventlet", "who_held", EVENTLET_HUB=hub)

    assert sorted(name for name, _, _ in told["slow"]) == ["computes", "yields_before"]
