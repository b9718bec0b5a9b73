"""Attributes as JSON text that any engine reads, and back without loss.

JSON tells texts, whole numbers, floats and truth values apart, but has no NaN and no infinity:
these are written ``{"float": "nan"}`` (no attribute's own value is ever an object). Half
surrogates, which no UTF-8 text can hold, become U+FFFD.
"""

from __future__ import annotations

import json.encoder
from functools import lru_cache
from json import JSONDecoder
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nilometer.model import AttributeValue

WHOLE_BITS_MAX: Final = 4096  # Python refuses to write more than 4,300 digits in decimal


def _encode(value: object) -> str:
    return "".join(_chunks(value, 0))


# JSONEncoder.encode makes its C encoder anew for each value, which costs twice the encoding.
_chunks: Final[Callable[[object, int], Sequence[str]]] = json.encoder.c_make_encoder(  # type: ignore[attr-defined]  # not in the stubs
    None, str, json.encoder.encode_basestring, None, ":", ",", False, False, False
)


def _float_of(pairs: dict[str, Any]) -> Any:
    return float(pairs["float"]) if pairs.keys() == {"float"} and _is_word(pairs) else pairs


def _is_word(pairs: dict[str, Any]) -> bool:
    return pairs["float"] in ("nan", "inf", "-inf")


_decode: Final = JSONDecoder(object_hook=_float_of).decode


def clean(text: str) -> str:
    """The same text, half surrogates replaced; what UTF-8 can hold stays as it is.

    >>> clean("a\\ud800b") == "a\\ufffdb"
    True
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def encode(value: object) -> str:
    """JSON text of a value made of mappings, lists, texts, numbers and truth values.

    >>> encode({"a": 1, "b": float("inf")})
    '{"a":1,"b":{"float":"inf"}}'
    """
    try:
        text = _encode(value)
    except ValueError:  # a float that JSON cannot tell
        text = _encode(_told(value))
    return text


def encode_all(objects: Iterable[Mapping[str, object]]) -> list[str]:
    """JSON text of each object; of many, a call of `encode` for each costs a fifth more.

    >>> encode_all([{}, {"a": 1}])
    ['{}', '{"a":1}']
    """
    plain = [each if type(each) is dict else dict(each) for each in objects]
    try:
        return ["".join(_chunks(each, 0)) for each in plain]
    except ValueError:  # one of them has a float that JSON cannot tell
        return [encode(each) for each in plain]


def _told(value: object) -> object:
    if isinstance(value, float) and not isfinite(value):
        return {"float": str(value)}
    if isinstance(value, int) and value.bit_length() > WHOLE_BITS_MAX:
        return hex(value)
    if isinstance(value, dict):
        return {key: _told(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_told(each) for each in value]
    return value


def decode(text: str) -> Any:
    """What `encode` was given."""
    return _decode(text)


def decode_attributes(text: str) -> Mapping[str, AttributeValue]:
    """The attributes in a JSON object; an attribute may itself be called `float`."""
    found = _decode(text)
    # {"float": "nan"} alone is both an attribute `float` and our NaN: here it is the attribute.
    return found if isinstance(found, dict) else {"float": str(found)}


@lru_cache(maxsize=4096)  # dimensions and resources repeat from interval to interval
def decode_pairs(text: str) -> tuple[tuple[str, AttributeValue], ...]:
    """The pairs of a JSON object, as resources and dimensions hold them."""
    return tuple(cast("dict[str, AttributeValue]", decode_attributes(text)).items())
