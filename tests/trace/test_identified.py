"""What a function makes has the id of the request that it was made in."""

from types import SimpleNamespace

import pytest

from nilometer.trace.current import Joined


def made(*args, **named):
    return SimpleNamespace(args=args, named=named)


def test_what_is_made_has_the_id_of_its_request_and_all_else_is_as_it_was(twin):
    identified = twin.core.identified(made)
    before = identified(1, b=2)
    with twin.root(trace_id=b"\xab" * 16):
        inside = identified("x")
    after = identified()
    with Joined(b"\xcd" * 16, b"\xef" * 8):
        joined = identified(y=3)

    assert [vars(one) for one in (before, inside, after, joined)] == [
        {"args": (1,), "named": {"b": 2}, "trace_id": "-"},
        {"args": ("x",), "named": {}, "trace_id": "ab" * 16},
        {"args": (), "named": {}, "trace_id": "-"},
        {"args": (), "named": {"y": 3}, "trace_id": "cd" * 16},
    ]


def test_what_making_raises_is_raised(twin):
    identified = twin.core.identified(int)

    with pytest.raises(ValueError, match="invalid literal"):
        identified("x")
    with pytest.raises(AttributeError, match="trace_id"):
        identified("7")  # a number takes no attribute
    with pytest.raises(TypeError):
        twin.core.identified()
