"""Passwords that stand in URLs within a text, as in ``rabbit://nova:hush@bus``: found, hidden.

What is before the ``@`` of several hosts goes, too. A port is no password, wherever an ``@``
follows; user names stay.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"

_CHARS_MAX: Final = 128  # a bound for texts that open one URL after the other and end none
_PASSWORD: Final = re.compile(
    rf'(://[^\s:/@"\[]*:)(?!\d{{1,5}}[/?#,;])[^\s@"]{{1,{_CHARS_MAX}}}@'
    rf'(?:[^\s@/"]{{1,{_CHARS_MAX}}}@)*'
)


def has_passwords(text: str) -> bool:
    """Whether a URL in it has one; also of JSON as text. Most texts take two searches.

    >>> has_passwords('{"url": "http://h:9292/v2", "mail": "me@here"}')
    False
    """
    return "@" in text and "://" in text and _PASSWORD.search(text) is not None


def without_passwords(text: str) -> str:
    """The same text without them.

    >>> without_passwords("rabbit://a:x1@h1:5672,b:y2@h2:5672/ and http://h:80/a@b")
    'rabbit://a:***@h2:5672/ and http://h:80/a@b'
    """
    if "@" not in text or "://" not in text:
        return text
    return _PASSWORD.sub(rf"\1{HIDDEN}@", text)
