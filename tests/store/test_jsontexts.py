"""Both twins write the same texts of the same attributes, or raise the same."""

import gc
import math
import tracemalloc
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilometer.store import _jsontexts, jsontext


class Whole(int):
    """A number that tells itself as something else."""

    def __str__(self):
        return "seven"


class Odd:
    def __str__(self):
        return 'o"d\n'


class Failing:
    def __str__(self):
        raise KeyError("no text")


texts = st.text(max_size=8) | st.text(st.characters(max_codepoint=0x100), max_size=8)
texts |= st.sampled_from(["\ud800", "a\udfffb", "\U0001f600", '"', "\\", "\x7f", "\u2028", ""])
wholes = st.integers() | st.sampled_from([2**63 - 1, -(2**63), 2**63, 10**5000, -1, 0])
plain = st.one_of(texts, wholes, st.floats(), st.booleans())
odd = st.none() | st.sampled_from([Whole(7), Odd(), b"bytes", (1, "a"), {"a": {}}, [math.nan]])
keys = texts | st.sampled_from([1, 2.5, True, None])
objects = st.dictionaries(texts, plain, max_size=4)
anything = (
    objects | st.dictionaries(keys, plain | odd, max_size=4) | objects.map(MappingProxyType)
)


def outcome(encode_all, mappings):
    try:
        return encode_all(mappings)
    except Exception as error:
        return type(error), str(error)


@given(st.lists(anything, max_size=4))
def test_the_twins_write_the_same(mappings):
    assert outcome(_jsontexts.encode_all, mappings) == outcome(jsontext.encode_all, mappings)


def test_every_letter_is_written_alike():
    mappings = [{chr(code): chr(code), "k": f"a{chr(code)}b"} for code in range(0x3000)]

    assert _jsontexts.encode_all(mappings) == jsontext.encode_all(mappings)


NUMBERS = [0.0, -0.0, 1.0, 1 / 3, 1e15, 1e16, 1e22, 1e-4, 1e-5, 5e-324, 1.7976931348623157e308]
NUMBERS += [math.nan, math.inf, -math.inf, 10**18, -(10**18), 2**63 - 1, -(2**63), 2**63]
NUMBERS += [-(2**63) - 1, 10**4000, 10**5000, True, False, 0, 9, 10, -1]


def test_every_number_is_written_alike():
    mappings = [{"number": number} for number in NUMBERS]

    assert _jsontexts.encode_all(mappings) == jsontext.encode_all(mappings)


@pytest.mark.parametrize("value", [Failing(), {1: Failing()}, {(): 1}])
def test_what_cannot_be_told_raises_alike(value):
    mappings = [{"a": 1}, {"b": value}]

    said = outcome(_jsontexts.encode_all, mappings)

    assert said == outcome(jsontext.encode_all, mappings)
    assert isinstance(said, tuple)


@pytest.mark.parametrize("value", [7, None, [3], [None]])
def test_what_is_no_mapping_raises_alike(value):
    said = outcome(_jsontexts.encode_all, value)

    assert said == outcome(jsontext.encode_all, value)
    assert said[0] is TypeError


def test_what_is_ordinary_is_not_handed_back(monkeypatch):
    told = {"text": "\u00e9 \n", "whole": -5, "float": 1e22, "true": True, "false": False}
    monkeypatch.setattr(jsontext, "_chunks", None)

    assert _jsontexts.encode_all(iter([told, {}])) == [
        '{"text":"\u00e9 \\n","whole":-5,"float":1e+22,"true":true,"false":false}',
        "{}",
    ]


def test_it_gives_back_all_memory():
    mappings = [{"a": "x" * 100, "b": 1 / 3, "c": 2**70}, {"d": math.inf}, {"e": Odd()}]
    mappings += [MappingProxyType({"f": 1}), {"g": "\ud800"}, {"h": 2**62}]

    def run():
        for _ in range(200):
            _jsontexts.encode_all(mappings)
            outcome(_jsontexts.encode_all, [*mappings, {"i": Failing()}])

    tracemalloc.start()
    try:
        run()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        run()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < 200 * 28
