"""docs/analyze.md describes the questions; NILOMETER_WRITE_DOCS=1 brings it up to date."""

import os
from pathlib import Path

from nilometer.analyze import described

PAGE = Path(__file__).parents[2] / "docs" / "analyze.md"
MARK = "<!-- generated: nilometer.analyze.described -->\n"


def test_the_page_describes_every_question_as_it_is():
    head, _, shown = PAGE.read_text().partition(MARK)
    if os.environ.get("NILOMETER_WRITE_DOCS"):
        PAGE.write_text(head + MARK + "\n" + described.as_markdown())
        shown = PAGE.read_text().partition(MARK)[2]

    assert shown == "\n" + described.as_markdown()
