"""Prediction against observation: what is a difference, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpucheck.elf import Resolution
from gpucheck.engine import judge
from gpucheck.facts import Difference, Seen
from gpucheck.record import replace
from gpucheck.rules.loading import loading_differs_from_prediction
from gpucheck.system import Local
from gpucheck.trace.agreement import Prediction, compare, explain, foresees, predict
from gpucheck.trace.loader_log import Image
from gpucheck.trace.lookup import Lookup
from tests.machines import healthy
from tests.trace.commands import build_library, build_opener

TORCH, CUDART = "/s/torch/lib/libtorch_cuda.so", "/s/nvidia/lib/libcudart.so.13"
SEEN = Lookup("libcudart.so.13", TORCH, CUDART, "RPATH", "needed", (), TORCH, None, 0, 1, False)
SAID = Resolution("libcudart.so.13", TORCH, CUDART, "RPATH", "needed", (), TORCH)


def differences(said: Resolution | None, seen: Lookup | None) -> list[tuple[str, str]]:
    found = compare(Prediction((said,) if said else ()), (seen,) if seen else ())
    return [(each.predicted, each.observed) for each in found]


@pytest.mark.parametrize(
    ("said", "seen", "expected"),
    [
        (SAID, SEEN, []),
        (replace(SAID, path="/s/torch/lib/../../nvidia/lib/libcudart.so.13"), SEEN, []),
        (replace(SAID, path="/other/libcudart.so.13"), SEEN, [("/other/libcudart.so.13", CUDART), ("/other/libcudart.so.13", "not loaded")]),
        (replace(SAID, path=None, how="not found"), SEEN, [("not found", CUDART)]),
        (SAID, replace(SEEN, path=None, how="not found"), [(CUDART, "not found"), (CUDART, "not loaded")]),
        (replace(SAID, path=None, how="not found"), replace(SEEN, path=None, how="not found"), []),
        (None, SEEN, [("not asked for", CUDART)]),
        (SAID, None, [(CUDART, "not loaded")]),
        # It was found where it was predicted; that it lacks a symbol is another matter.
        (SAID, replace(SEEN, fatal="undefined symbol: x"), []),
        (replace(SAID, fatal="libx.so.1: cannot open shared object file"), replace(SEEN, fatal="libx.so.1: cannot open"), []),
        # Nobody told who asked.
        (None, replace(SEEN, requester=None), []),
    ],
)  # fmt: skip
def test_differences(said: Resolution | None, seen: Lookup | None, expected: list[tuple[str, str]]) -> None:
    assert differences(said, seen) == expected


def test_what_was_asked_again_counts_by_the_first_answer() -> None:
    again = replace(SAID, how="resident")
    assert compare(Prediction((again, SAID)), (SEEN,)) == ()


def test_an_opening_that_the_table_does_not_know() -> None:
    said = Resolution("libnvrtc.so.13", CUDART, None, "not found", "dlopen")
    seen = Lookup("libnvrtc.so.13", CUDART, None, "not found", "dlopen", (), None, None, 0, 1, False)
    assert compare(Prediction((said,)), (seen,)) == (
        Difference("libnvrtc.so.13", CUDART, "not known to be opened by it", "opened"),
    )
    assert foresees(CUDART, "libcuda.so.1")
    assert foresees("/x/libcudnn.so.9", "libcudnn_ops.so.9")
    assert foresees("/x/libnvrtc.so.13", "libnvrtc-builtins.so.13.2")
    assert not foresees("/x/libnvrtc.so.13", "libcudnn.so.9")


def test_the_model_tells_whose_list_it_was() -> None:
    shared = replace(SEEN, owner="/s/torch/lib/libtorch_global_deps.so")
    assert explain((shared,), Prediction((SAID,))) == (SEEN,)
    elsewhere = replace(SAID, path="/other/libcudart.so.13", owner=TORCH)
    assert explain((shared,), Prediction((elsewhere,))) == (shared,)


def test_the_finding() -> None:
    differences = (Difference("libcudart.so.13", TORCH, "not found", CUDART),)
    (outcome,) = judge(
        healthy(differences=Seen(differences, "gpucheck trace")), (loading_differs_from_prediction,)
    ).outcomes
    (found,) = outcome.complaints
    assert outcome.rule == "loading-differs-from-prediction"
    assert found.severity.value == "note"
    assert found.summary == "The dynamic linker did not do what gpucheck libs predicts, for 1 library"
    assert [(each.fact, each.source) for each in found.evidence] == [
        (f"libcudart.so.13, asked for by {TORCH}: predicted not found", f"seen: {CUDART}")
    ]


def test_the_prediction_replays_the_calls_of_dlopen(tmp_path: Path) -> None:
    build_library(tmp_path / "libs" / "libcudart.so.12")
    program = str(build_opener(tmp_path))
    image = Image(1, "opener", False, (), (("libcudart.so.12", "opener"),), (f"{tmp_path}/libs",), None)
    found = predict(Local(), program, image, {"opener": program}, {}, "/")
    (resolution,) = [each for each in found.resolutions if each.soname == "libcudart.so.12"]
    assert (resolution.path, resolution.how, resolution.requester) == (
        f"{tmp_path}/libs/libcudart.so.12",
        "LD_LIBRARY_PATH",
        program,
    )


def test_a_difference_is_really_seen(tmp_path: Path) -> None:
    """The library is replaced between the run and the look: the model must notice."""
    library = build_library(tmp_path / "libs" / "libcudart.so.12")
    program = str(build_opener(tmp_path))
    image = Image(1, "opener", False, (), (("libcudart.so.12", "opener"),), (f"{tmp_path}/libs",), None)
    seen = Lookup("libcudart.so.12", program, str(library), "LD_LIBRARY_PATH", "dlopen", (), None, None, 0, 1, False)
    assert compare(predict(Local(), program, image, {"opener": program}, {}, "/"), (seen,)) == ()
    library.unlink()
    assert compare(predict(Local(), program, image, {"opener": program}, {}, "/"), (seen,)) == (
        Difference("libcudart.so.12", program, "not found", str(library)),
    )
