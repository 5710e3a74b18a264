"""What is recommended runs on all nodes, nothing newer does, and where nothing runs it says so."""

from __future__ import annotations

import pytest

from gpucheck.compat import builds
from gpucheck.compat.command import BadInput, recommendation
from gpucheck.compat.inventory import typed
from gpucheck.compat.judge import judge
from gpucheck.compat.recommend import advise, contract_of
from gpucheck.finding import Verdict
from gpucheck.render.advice import render

FINE = (Verdict.COMPATIBLE, Verdict.CONDITIONAL)


def names(*where: str, library: str = "torch") -> list[str]:
    return [choice.name for choice in advise(library, [typed(text) for text in where]).choices]


def test_the_newest_build_for_old_and_new_gpus() -> None:
    assert names("driver=535,gpu=H100,gpu=V100")[0] == "torch 2.14.1+cu126"  # 2.15 has none for V100
    assert names("driver=580.95.05,gpu=H100")[0] == "torch 2.15.0+cu132"  # cu134 is not certain
    assert names("driver=580.95.05,gpu=B200,gpu=V100")[0] == "torch 2.10.0+cu128"
    assert names("driver=470.256.02,gpu=V100")[0] == "torch 2.7.1+cu118"
    assert names("driver=550.54.15,gpu=A100", "driver=580.95.05,gpu=L4")[0] == "torch 2.14.1+cu126"
    assert names("driver=580.95.05,gpu=L4", library="jax")[0] == "jax-cuda13-plugin 0.12.0.1"
    assert names("driver=535.261.03,gpu=L4", library="jax")[0] == "jax-cuda12-plugin 0.12.0.1"


@pytest.mark.parametrize("gpus", ["H100", "V100", "T4", "B200", "A100+RTX 4090", "H100+V100"])
@pytest.mark.parametrize("driver", ["450.80.02", "535.261.03", "550.54.15", "580.95.05"])
def test_all_choices_run_and_nothing_newer_of_their_cuda_does(gpus: str, driver: str) -> None:
    node = typed(f"driver={driver}," + ",".join(f"gpu={gpu}" for gpu in gpus.split("+")))
    for choice in advise("torch", [node]).choices:
        assert judge(contract_of(choice.build, node.architecture), node).verdict in FINE
        for row in builds.newest_first("torch"):
            if row == choice.build:
                break
            if row.cuda == choice.build.cuda:
                cell = judge(contract_of(row, node.architecture), node)
                assert cell.verdict not in FINE or any(r.rule == "gpu-not-covered-by-build" for r in cell.reasons)


def test_what_a_choice_gives_up_is_said() -> None:
    (first, *_) = advise("torch", [typed("driver=535,gpu=H100,gpu=V100")]).choices
    assert first.verdicts == (Verdict.CONDITIONAL,)
    assert any("2.15.0 is the newest" in text for text in first.gives_up)
    assert any("222" in text for text in first.gives_up)
    assert any("not on PyPI" in text for text in first.gives_up)
    assert builds.index(first.build) == "https://download.pytorch.org/whl/cu126"
    text = render(advise("torch", [typed("driver=580.95.05,gpu=H100")]), "text", False)
    assert "gpu-capable/cuda13" in text and "pip install torch" in text


def test_where_nothing_runs_on_all_it_says_what_runs_on_each() -> None:
    advice = advise("torch", [typed("driver=470.256.02,gpu=H100,gpu=K80"), typed("driver=595.71.05,gpu=B200")])
    assert advice.choices == ()
    # Whether 470 drives an H100 is not known, so nothing is recommended for it.
    found = {node.name: bool(build) for node, build in advice.apart}
    assert found == {"H100 (9.0)": False, "K80 (3.7)": True, "B200 (10.0)": True}
    assert "No build of torch is known that runs on all of them" in render(advice, "text", False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("numpy", "H100", "535", []), "--library numpy: not known; known are torch"),
        (("torch", "H100", None, []), "--gpu and --driver belong together"),
        (("torch", None, None, []), "say what it must run on"),
        (("torch", "H1000", "535", []), "nothing is known of the GPU H1000; names like it: H100"),
        (("torch", "H100", "new", []), "driver 'new' is no version"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, str | None, str | None, list[str]], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        recommendation(*arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)
