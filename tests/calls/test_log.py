"""Files that the library did not write, or not to their end."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucheck.trace.calls import diagnose, read
from gpucheck.trace.calls.log import HEADER, MAGIC, RECORD, RECORDS, SIZE, SLOT, SLOTS, BadLog, parse
from gpucheck.trace.calls.records import CallTrace
from gpucheck.trace.calls.text import render


def log(*, slots: int = 0, records: int = 0, failures: int = 0, objects: int = 0) -> bytearray:
    """A file as the library writes it, with counters of our choice."""
    data = bytearray(SIZE)
    data[: len(MAGIC)] = MAGIC
    struct.pack_into("<8IQ", data, len(MAGIC), 7, 1, slots, 0, records, failures, objects, 0, 1000)
    return data


def test_sizes_are_those_of_the_c_structures() -> None:
    source = (Path(__file__).resolve().parents[2] / "gpucheck" / "native" / "source" / "calls.c").read_text()
    assert f"#define RECORDS {RECORDS} " in source
    assert (HEADER, SLOT, RECORD, SLOTS) == (8192, 144, 48, 2048)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", f"0 bytes, not {SIZE}"),
        (bytes(log())[:-1], f"{SIZE - 1} bytes, not {SIZE}"),
        (bytes(SIZE), "does not begin as a record of calls does"),
    ],
)
def test_what_is_no_log_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(BadLog) as refused:
        parse(data)
    assert str(refused.value) == message


def test_other_files_in_the_folder_are_named_or_passed_over(tmp_path: Path) -> None:
    (tmp_path / "processes").write_bytes(b"12\nx\n\xff\n13")
    (tmp_path / "12.0").write_bytes(bytes(log()))
    (tmp_path / "13.0").write_bytes(b"short")
    (tmp_path / "14.0").symlink_to("12.0")
    (tmp_path / "15.0").mkdir()
    (tmp_path / "notes").write_text("no log")
    trace = read(str(tmp_path))
    assert (trace.watched, len(trace.processes)) == ((12, 13), 1)
    assert trace.trouble == (
        f"13.0: 5 bytes, not {SIZE}",
        "14.0: Too many levels of symbolic links",
        "15.0: Is a directory",
    )


@settings(max_examples=150, deadline=None)
@given(
    counters=st.tuples(*[st.sampled_from((0, 1, 5, SLOTS, RECORDS, 2**32 - 1)) for _ in range(4)]),
    patches=st.lists(
        st.tuples(
            st.integers(0, 40),
            st.sampled_from(("header", "slot", "record", "failure")),
            st.integers(0, 143),
            st.binary(max_size=48),
        ),
        max_size=20,
    ),
)
def test_a_hostile_file_gives_a_trace_and_no_error(
    counters: tuple[int, int, int, int], patches: list[tuple[int, str, int, bytes]]
) -> None:
    data = log(slots=counters[0], records=counters[1], failures=counters[2], objects=counters[3])
    starts = {
        "header": 16,
        "slot": HEADER,
        "record": HEADER + SLOTS * SLOT,
        "failure": HEADER + SLOTS * SLOT + RECORDS * RECORD,
    }
    for index, part, offset, bytes_ in patches:
        at = starts[part] + index * (SLOT if part == "slot" else RECORD) + offset
        data[at : at + len(bytes_)] = bytes_
    assert len(data) == SIZE
    process = parse(bytes(data))
    trace = CallTrace((), (process,), ())
    diagnose(trace, killed=[process.id])
    for show_all in (False, True):
        assert render(trace, False, show_all).endswith("\n")
