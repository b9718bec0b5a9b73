"""`python -O` takes away what the docs say it takes away."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "measuring.md"

LOOK = """
import dis, types
print(isinstance(parse, types.FunctionType) and not hasattr(parse, "__wrapped__")
      and not [one for one in dis.get_instructions(parse) if one.argval == "lines"],
      "lines" in globals(), parse("a b"))
"""


def block():
    (code,) = re.findall(r"^```python\n(# -O strips.*?)^```", PAGE.read_text(), re.M | re.S)
    return code


def ran(*flags):
    return subprocess.check_output(
        [sys.executable, *flags, "-c", block() + LOOK], text=True, timeout=60
    )


def test_with_o_no_instrument_is_made_and_no_bytecode_is_left():
    assert ran("-O") == "True False ['a', 'b']\n"


def test_without_o_the_same_lines_measure():
    assert ran() == "False True ['a', 'b']\n"
