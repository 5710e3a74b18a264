"""Whatever a snapshot says, no rule and no renderer fails on it: it may come from another machine, version or hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gpucheck.codec import decode, encode
from gpucheck.engine import judge
from gpucheck.facts import SCHEMA, Snapshot
from gpucheck.finding import Status
from gpucheck.record import fields, is_record
from gpucheck.render import FORMATS, render
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion
from tests.machines import bare, healthy, image

VERSIONS = {
    DriverVersion: ("00", "1.0", "470.256.02", "580.95.05", "9999.9999.9999"),
    CudaVersion: ("0.0", "1.0", "11.8", "13.0", "99.99"),
    ComputeCapability: ("0.0", "1.0", "9.0", "12.1", "99.9"),
}
#: Strings that mean something somewhere, and some that mean nothing anywhere.
WORDS = (
    "", " ", "0", "-1", "nvidia", "torch", "torch 2.7.1", "jax", "jaxlib", "jax-cuda12-plugin", "nvidia-cublas-cu12", "2.7.1+cu126", "1!0.dev+x", "13", "13.",
    "sm_90", "sm_90a", "compute_", "libcuda.so.1", "libcudart.so.", "libcudart.so.99", "/", "//usr/lib", "/usr/lib/x/libcuda.so.1", "driver", "stub", "compat",
    "open", "proprietary", "gpu", "nvswitch", "nouveau", "EPERM", "?", "docker", "kubernetes", "x86_64", "aarch64", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH",
    "NVIDIA_REQUIRE_CUDA", "cuda>=99999999999999999999", "a:b::c", "\x1b[31m", "\u202e", "cuInit", "cuDevicePrimaryCtxRetain", "nvmlInit_v2", "cudaGetDeviceCount",
)  # fmt: skip


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type of gpucheck.facts."""
    origin = get_origin(kind)
    if kind in VERSIONS:
        return st.sampled_from([parsed for text in VERSIONS[kind] if (parsed := kind.parse(text))])
    if kind is str:
        return st.sampled_from(WORDS) | st.text(max_size=6)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.sampled_from((0, 1, 2, 3, 34, 35, 46, 100, 802, 803, 804, 805, 999, -1, 1 << 40))
    if kind is type(None):
        return st.none()
    if origin in (Union, types.UnionType):
        return st.one_of([values(part) for part in get_args(kind)])
    if origin is tuple:
        parts = get_args(kind)
        if parts[-1] is Ellipsis:
            return st.lists(values(parts[0]), max_size=2).map(tuple)
        return st.tuples(*(values(part) for part in parts))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    record = origin or kind
    assert is_record(record), kind
    hints = get_type_hints(record)
    parameter = get_args(kind)
    return st.builds(
        record,
        **{name: values(parameter[0] if parameter and name == "value" else hints[name]) for name in fields(record)},
    )


def check(snapshot: Snapshot) -> None:
    report = judge(snapshot)
    assert [(outcome.rule, outcome.error) for outcome in report.outcomes if outcome.status is Status.CRASH] == []
    for format in FORMATS:
        render(report, "doctor", format, False)


# Not made smaller: a snapshot is large, and what crashed is named by the rule.
@settings(
    max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.reuse, Phase.generate)
)
@given(st.data())
def test_snapshots_of_anything(data: st.DataObject) -> None:
    """Most facts of a machine, any few of them replaced by anything of their type."""
    hints = get_type_hints(Snapshot)
    start = data.draw(st.sampled_from((healthy(), bare(), image())))
    names = data.draw(
        st.sets(st.sampled_from(sorted(set(fields(Snapshot)) - {"schema", "tool"})), min_size=1, max_size=6)
    )
    document = encode(start) | {name: encode(data.draw(values(hints[name]))) for name in sorted(names)}
    check(decode(Snapshot, document))


@pytest.mark.parametrize(
    "absurd", ["0", "0.0", "00", "9.9", "99.99", "9999.9999.9999", "1!0.dev0+cu999", "", "not a version", "9" * 40]
)
@pytest.mark.parametrize("start", [healthy(), bare(), image()], ids=["healthy", "bare", "image"])
def test_absurd_versions_in_every_place_that_has_one(start: Snapshot, absurd: str) -> None:
    """Where the type is a version, the nearest that it can hold; where it is text, the text itself."""

    def change(kind: Any, value: Any) -> Any:
        if isinstance(value, tuple(VERSIONS)):
            return type(value).parse(absurd) or type(value).parse(VERSIONS[type(value)][-1])
        if is_record(type(value)):
            return type(value)(**{name: change(None, getattr(value, name)) for name in fields(type(value))})
        if isinstance(value, tuple):
            return tuple(change(None, part) for part in value)
        if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)+\S*", value):
            return absurd
        return value

    check(change(None, start))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"schema": SCHEMA + 1},
            f"schema {SCHEMA + 1}, this gpucheck reads {SCHEMA}; take it again with: gpucheck snapshot -o FILE",
        ),
        ({"schema": 0}, f"schema 0, this gpucheck reads {SCHEMA}; take it again with: gpucheck snapshot -o FILE"),
        ({"weather": "sunny"}, "snapshot: unknown field 'weather'"),
        ({"pci": None}, "snapshot.pci: not a fact: None"),
    ],
)
def test_a_snapshot_of_another_version_is_refused_in_one_line(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "snapshot.json"
    path.write_text(json.dumps(encode(healthy()) | change))
    ran = subprocess.run(
        [sys.executable, "-m", "gpucheck", "doctor", "--snapshot", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", f"gpucheck: --snapshot {path}: {message}\n")


def test_a_snapshot_of_before_a_fact_was_added_is_read() -> None:
    """Fields that came later have a default that says why they are not known."""
    document = encode(healthy())
    later = [name for name, optional in fields(Snapshot).items() if optional]
    assert later
    check(decode(Snapshot, {name: value for name, value in document.items() if name not in later}))
