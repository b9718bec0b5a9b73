"""Tokens can be exchanged while the collector runs, and a slip of the pen locks nobody out."""

from __future__ import annotations

import os

from nilometer.collect.settings import read_tokens
from nilometer.collect.token_file import TokenFile
from tests.collect.doors import visit

OLD, NEW = "old-token-of-sixteen", "new-token-of-sixteen"


def write(path, text, at_s):
    path.write_text(text)
    path.chmod(0o600)
    os.utime(path, (at_s, at_s))


def test_only_a_changed_file_is_read_and_a_bad_one_is_said_once(tmp_path):
    path, said = tmp_path / "tokens", []
    write(path, OLD, 1)
    tokens = TokenFile(str(path), said.append)
    seen = [tokens.changed(), tokens.changed()]

    for text, at_s in (("short", 2), (NEW, 3)):
        write(path, text, at_s)
        seen += [tokens.changed(), tokens.changed()]
    path.unlink()
    seen += [tokens.changed(), tokens.changed()]

    assert seen == [(OLD.encode(),), None, None, None, (NEW.encode(),), None, None, None]
    assert [line.endswith("; the tokens from before go on to hold") for line in said] == [
        True,
        True,
    ]
    assert "short" not in "".join(said)


def test_a_collector_is_opened_by_what_the_file_says_now(tmp_path):
    path = tmp_path / "tokens"
    write(path, OLD, 1)

    async def talk(client, collector):
        async def statuses():
            return [
                (
                    await client.get(
                        "/api/v1/health", headers={"Authorization": f"Bearer {one}"}
                    )
                ).status_code
                for one in (OLD, NEW)
            ]

        answers = []
        for text, at_s in ((OLD, 1), (NEW, 2), ("", 3)):
            write(path, text, at_s)
            await collector.renew_tokens()
            answers.append(await statuses())
        return answers

    tokens = read_tokens(str(path), origin="--token-file")
    told = visit(tmp_path, talk, tokens=tokens, token_file=str(path))

    assert told == [[200, 401], [401, 200], [401, 200]]
