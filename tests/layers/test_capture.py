"""What is held of a file that streams by is the same whatever pieces it comes in, and nothing of the file before."""

from __future__ import annotations

import re

import pytest

from gpucheck.images import capture
from gpucheck.images.capture import MAX_HITS, Capture, make_room
from gpucheck.system.files import MAX_MATCH
from gpucheck.system.protocol import NotKept

WORDS = (b"sm_", b"libnvrtc.so.")
FILL = b"sm_ libnvrtc.so. \0" * 40
DATA = (
    b"sm_50 "
    + FILL
    + b"\0sm_90a\0"
    + FILL
    + b"sm_80sm_86"
    + b"-" * MAX_MATCH
    + b"\0libnvrtc.so.13\0sm_75"
    + FILL
    + b"\0\0sm_120\xff\xff"
    + bytes(range(256)) * 8
    + b"\0sm_61"
)


def hits(data: bytes, size: int, words: tuple[bytes, ...] = WORDS) -> list[tuple[int, bytes]]:
    with make_room() as room:
        taken = Capture(len(data), room, words)
        for at in range(0, len(data), size):
            taken.feed(data[at : at + size])
        return sorted(taken.hits)


def expected(data: bytes, words: tuple[bytes, ...] = WORDS) -> list[tuple[int, bytes]]:
    """By the definition: each word before a digit, with a NUL before it and as much as a pattern may match."""
    found = []
    for word in words:
        at = 0
        while match := re.compile(rb"\0?" + re.escape(word) + rb"[0-9]").search(data, at):
            at = match.start() + MAX_MATCH
            found.append((match.start(), data[match.start() : at]))
    return sorted(found)


@pytest.mark.parametrize("size", (1, 2, 5, 255, 256, 257, 1000, len(DATA)))
def test_words_are_found_in_pieces_of_any_size(size: int) -> None:
    assert len(expected(DATA)) == 7
    assert hits(DATA, size) == expected(DATA)


def test_no_more_words_than_are_of_use() -> None:
    data = (b"sm_90" + b"-" * MAX_MATCH) * (MAX_HITS + 10)
    assert hits(data, 4096, (b"sm_",)) == expected(data, (b"sm_",))[:MAX_HITS]


@pytest.mark.parametrize("size", (1, 7, 1000, 1 << 20))
def test_a_large_file_is_held_without_its_middle(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "START", 1000)
    monkeypatch.setattr(capture, "END", 500)
    data = bytes(range(251)) * 20
    with make_room() as room:
        taken = Capture(len(data), room)
        for at in range(0, len(data), size):
            taken.feed(data[at : at + size])
        held = taken._held
        assert held.read("", 1000) == data[:1000]
        assert held.read("", 500, len(data) - 500) == data[-500:]
        for offset, limit in ((999, 2), (2000, 10), (len(data) - 501, 501)):
            with pytest.raises(NotKept):
                held.read("", limit, offset)


def test_nothing_of_the_file_before_is_read() -> None:
    with make_room() as room:
        Capture(4096, room).feed(b"x" * 4096)
        after = Capture(4096, room)
        after.feed(b"y" * 100)
        assert after._held.read("", 100) == b"y" * 100
        with pytest.raises(NotKept):
            after._held.read("", 101)
