"""The data that the fake driver is made of."""

from __future__ import annotations

import re

from gpucheck.fakedriver import tables


def test_gpus_are_told_apart_and_have_a_source() -> None:
    rows = tables.models()
    assert rows[0].key == "H100"  # what there is without a script
    assert len({row.key.lower() for row in rows}) == len(rows)
    for row in rows:
        assert row.source.startswith("https://")
        assert re.fullmatch(r"\d+\.\d", row.capability)
        assert 0 < row.multiprocessors < 200


def test_every_attribute_has_its_place() -> None:
    # CUdevice_attribute in cuda.h of CUDA 13.5 goes from 1 to 161 without a gap.
    rows = [line.split() for line in tables.read_rows("attributes.txt")]
    assert [int(row[0]) for row in rows] == list(range(1, 162))
    for row in rows:
        steps = [tuple(map(int, step.split("=")[0].split("."))) for step in row[3:]]
        assert steps == sorted(steps)


def test_every_name_is_exported_once() -> None:
    for name in ("cuda.txt", "nvml.txt"):
        rows = [line.split()[0] for line in tables.read_rows(name)]
        assert len(rows) == len(set(rows))
