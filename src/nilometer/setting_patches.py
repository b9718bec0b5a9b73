"""How `[[patch]]` tables are read; what can be known without the module is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Final

from nilometer import setting_values as values
from nilometer.errors import ConfigError, nearest, together
from nilometer.model.patch import MAKES, RETURNED, ArgumentPath, Patch, Step, is_wild

TARGET_KEY: Final = "target"
KEYS: Final = (
    TARGET_KEY,
    *("make", "name", "level", "dimensions", "hook", "result_hook", "amount"),
)
FIELDS: Final = ("module", "qualname", "class", "function")
"""What a template of a name may hold between braces."""

_PATH: Final = re.compile(r"(?P<start>[^\W\d]\w*|\d+)(?P<steps>(?:\.[^\W\d]\w*|\[[^\[\]]+\])*)")
_STEP: Final = re.compile(r"\.(\w+)|\[([^\[\]]+)\]")
_NAME_OR_PATTERN: Final = re.compile(r"[\w*?\[\]!-]+")
_AMOUNT_MAX: Final = 2**31


def patches(value: object, origin: str) -> tuple[Patch, ...]:
    """Tables, or targets; in a variable ``target=make,target=make``."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray):
        values.refuse(value, origin, "is no list of tables; write [[patch]]")
    found, faults = [], []
    for one in value:
        at = getattr(one, "origin", origin)
        try:
            found.append(patch(one, at))
        except ConfigError as fault:
            faults.append(fault)
    if faults:
        raise together(faults)
    return tuple(found)


def patch(value: object, origin: str) -> Patch:
    """One of them; ConfigError if anything of it cannot be used."""
    if isinstance(value, Patch):
        return value
    if isinstance(value, str):
        written, _, make = value.partition("=")
        value = {TARGET_KEY: written, **({"make": make} if make else {})}
    if not isinstance(value, Mapping):
        values.refuse(value, origin, "is no table of a patch")
    for key in value:
        if key not in KEYS:
            raise ConfigError(
                f"{origin}: a patch has no {key!r}{nearest(str(key), KEYS)}", slug="bad-patch"
            )
    if TARGET_KEY not in value:
        raise ConfigError(
            f"{origin}: a patch without its target, as in module:Class.function",
            slug="bad-patch",
        )
    module, parts = target(value[TARGET_KEY], origin)
    made = _made(value, origin)
    read = Patch(
        module,
        parts,
        made,
        _name(value.get("name", ""), origin),
        values.level(value.get("level", "basic"), origin),
        _dimensions(value.get("dimensions", {}), origin),
        hook(value.get("hook", ""), origin),
        hook(value.get("result_hook", ""), origin),
        values.count(1, _AMOUNT_MAX)(value.get("amount", 1), origin),
        origin,
    )
    return _sound(read, "amount" in value)


def _made(value: Mapping[str, object], origin: str) -> str:
    made = values.text(value.get("make", MAKES[0]), origin)
    if made not in MAKES:
        raise ConfigError(
            f"{origin}: a patch cannot make {made!r}{nearest(made, MAKES)}", slug="bad-patch"
        )
    return made


def _sound(read: Patch, has_amount: bool) -> Patch:
    """What goes together; ConfigError for what does not."""
    if has_amount and read.make != "counter":
        raise ConfigError(
            f"{read.origin}: an amount is for counters, this is a {read.make}", slug="bad-patch"
        )
    if read.make == "event" and read.sees_results:
        raise ConfigError(
            f"{read.origin}: an event tells what was raised, and then there is no result",
            slug="bad-patch",
        )
    return read


def target(value: object, origin: str) -> tuple[str, tuple[str, ...]]:
    """The module, and the patterns of the names in it.

    >>> target("nova.compute.manager:ComputeManager.*instance*", "here")
    ('nova.compute.manager', ('ComputeManager', '*instance*'))
    """
    written = values.text(value, origin)
    module, colon, rest = written.partition(":")
    parts = tuple(rest.split("."))
    because = ""
    if not colon:
        because = "has no ':' between module and name, as in module:Class.function"
    elif is_wild(module):
        because = "has a pattern in its module: each module is named in full"
    elif not all(part.isidentifier() for part in module.split(".")):
        because = f"has no module's name before its ':': {module!r}"
    elif not all(_NAME_OR_PATTERN.fullmatch(part) for part in parts):
        because = f"has no names, or patterns of names, after its ':': {rest!r}"
    elif module.partition(".")[0] == "nilometer":
        because = "is in Nilometer, which measures itself in its own way"
    elif module == "builtins":
        because = "is what Nilometer itself is made of: measuring it would measure that, too"
    if because:
        raise ConfigError(f"{origin}: target {written!r} {because}", slug="bad-patch")
    return module, parts


def _name(value: object, origin: str) -> str:
    template = values.text(value, origin)
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise ConfigError(f"{origin}: name {template!r}: {error}", slug="bad-patch") from None
    for field in fields:
        if field not in FIELDS:
            raise ConfigError(
                f"{origin}: name {template!r} has no {{{field}}} to fill in"
                f"{nearest(field, FIELDS)}",
                slug="bad-patch",
            )
    try:
        Patch("m", ("f",), name=template).name_of("f")
    except ValueError as error:  # a format behind a colon that text does not take
        raise ConfigError(f"{origin}: name {template!r}: {error}", slug="bad-patch") from None
    return template


def _dimensions(value: object, origin: str) -> tuple[tuple[str, ArgumentPath], ...]:
    return tuple(
        (name, path(where, origin)) for name, where in values.pairs(value, origin).items()
    )


def path(written: str, origin: str) -> ArgumentPath:
    """Where a value lies in a call.

    >>> str(path("request.headers['X-Id']", "here")), path("return.status", "here").start
    ('request.headers[X-Id]', 'return')
    """
    match = _PATH.fullmatch(written.strip())
    if match is None:
        raise ConfigError(
            f"{origin}: {written!r} is no path into a call; write a parameter's name, or "
            f"{RETURNED}, then .attribute or [key], as in context.project_id or instance[host]",
            slug="bad-patch",
        )
    steps = (
        Step(key.strip("'\"") if key else name, bool(key))
        for name, key in _STEP.findall(match["steps"])
    )
    return ArgumentPath(match["start"], tuple(steps))


def hook(value: object, origin: str) -> str:
    """``module:function``, or the name of an entry point of the group `nilometer.hooks`."""
    written = values.text(value, origin)
    module, colon, function = written.partition(":")
    names = [*module.split("."), *function.split(".")] if colon else []
    if not all(name.isidentifier() for name in names):
        raise ConfigError(
            f"{origin}: hook {written!r} is neither module:function nor an entry point's name",
            slug="bad-patch",
        )
    return written
