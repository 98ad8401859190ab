"""What the processes of a sweep say to each other."""

from __future__ import annotations

import json

import pytest

from wsim.study.worker import encoded


@pytest.mark.parametrize("key", ["error", "words"])
@pytest.mark.parametrize("character", ["x", "é", "\ufffd", "\x1b", "😀", '"'])
@pytest.mark.parametrize("number", [1, 300, 700, 1500, 4000])
def test_a_message_is_written_whole_whatever_it_says(key: str, character: str, number: int) -> None:
    """PIPE_BUF is 4,096 on Linux. Of what is too long the beginning stays, and no more is left out than has to be."""
    message = {"run": 3, key: character * number, "exit_code": 2}
    line = encoded(message)
    assert len(line) <= 4000
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    found = json.loads(line)
    assert {**found, key: ""} == {**message, key: ""}
    assert message[key].startswith(found[key])
    if found != message:
        assert len(json.dumps({**message, key: found[key] + character})) + 1 > 4000 - 12
