"""gpucheck image on small images: the whole program, what it prints, and how it ends."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from gpucheck.cli import program
from gpucheck.codec import decode
from gpucheck.contract import Contract
from tests.layers.workshop import save
from tests.roots import DEBIAN, SITE, TORCH, make_root

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/image.json").read_text())
PYTHON = {"/usr/local/bin/python3": "\x7fELF"}
GPU = {
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    "PATH": "/usr/local/bin:/usr/bin",
}


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def gpucheck(*words: str, cache: Path) -> Done:
    """The program in this process: forty starts of another would take most of the time."""
    ended = CliRunner().invoke(program(words), list(words), env={"XDG_CACHE_HOME": str(cache)})
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return Done(ended.exit_code, ended.stdout, ended.stderr)


def ask(tmp_path: Path, image: str, *options: str, status: int = 0) -> dict[str, Any]:
    done = gpucheck("image", image, "--format", "json", *options, cache=tmp_path)
    assert done.returncode == status, done.stderr + done.stdout
    document: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA)
    return document


@pytest.fixture
def torch_image(tmp_path: Path) -> str:
    return save(tmp_path / "app.tar", [{**DEBIAN, **PYTHON}, TORCH], GPU)


def labelled(tmp_path: Path, image: str) -> dict[str, str]:
    """The labels that --format labels gives, as an engine reads them."""
    done = gpucheck("image", image, "--format", "labels", cache=tmp_path)
    first, *lines = done.stdout.splitlines()
    assert first == "FROM IMAGE", "an archive has no name in the engine"
    found = {}
    for line in lines:
        name, _, value = line.removeprefix("LABEL ").partition("=")
        found[name] = value[1:-1].replace('\\"', '"').replace("\\$", "$").replace("\\\\", "\\")
    return found


def test_a_report_has_its_parts_and_its_contract_can_be_read_again(tmp_path: Path, torch_image: str) -> None:
    document = ask(tmp_path, torch_image)
    assert (document["command"], document["verdict"], document["root_causes"]) == ("image", "compatible", [])
    contract = decode(Contract, document["contract"])
    assert [(code.name, code.version, code.targets) for code in contract.code] == [
        ("torch", "2.7.1+cu126", ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"))
    ]
    assert [(runtime.cuda.major, runtime.owner) for runtime in contract.runtimes] == [
        (12, "nvidia-cuda-runtime-cu12 12.6.77")
    ]
    assert (contract.gpu, contract.libc, contract.architecture) == (True, "glibc 2.41", "x86_64")
    assert [layer["created_by"] for layer in document["image"]["layers"]] == ["COPY 0 /", "COPY 1 /"]
    copies = {library["soname"]: library["copies"][0] for library in document["image"]["libraries"]}
    assert copies["libcudart.so.12"]["layer"] == 1


def test_the_same_files_in_a_folder_need_the_same(tmp_path: Path, torch_image: str) -> None:
    root = make_root(tmp_path / "root", {**DEBIAN, **PYTHON, **TORCH})
    folder = ask(tmp_path, f"dir:{root}", *(f"--env={name}={value}" for name, value in GPU.items()))["contract"]
    image = ask(tmp_path, torch_image)["contract"]
    assert {**folder, "image": "", "digest": ""} == {**image, "image": "", "digest": ""}


def test_an_image_for_the_cpu_needs_no_gpu(tmp_path: Path) -> None:
    image = save(tmp_path / "cpu.tar", [DEBIAN])
    document = ask(tmp_path, image)
    assert document["contract"]["gpu"] is False
    assert document["image"]["needs"] == [{"what": "GPU", "text": "none: nothing in it is for GPUs", "source": ""}]


def test_an_image_that_asks_for_gpus_and_has_nothing_for_them_is_not_judged_to_need_none(tmp_path: Path) -> None:
    assert ask(tmp_path, save(tmp_path / "base.tar", [DEBIAN], GPU))["contract"]["gpu"] is None


ROCKY = {
    "/etc/os-release": 'NAME="Rocky Linux"\nVERSION="9.6 (Blue Onyx)"\nID="rocky"\nVERSION_ID="9.6"\nPRETTY_NAME="Rocky Linux 9.6 (Blue Onyx)"\n',
    "/lib64/libc.so.6": b"\x7fELF...GNU C Library (GNU libc) stable release version 2.34.\n",
    "/lib64/ld-linux-x86-64.so.2": b"\x7fELF",
}


def test_an_image_of_rpm_has_its_packages_from_the_layer_that_wrote_them_last(tmp_path: Path) -> None:
    packed = Path(__file__).parents[1] / "probes/rpmdb.sqlite.gz"
    base, upper = (
        {"/var/lib/rpm/rpmdb.sqlite": b""},
        {"/var/lib/rpm/rpmdb.sqlite": gzip.decompress(packed.read_bytes())},
    )
    snapshot = ask(tmp_path, save(tmp_path / "rocky.tar", [{**ROCKY, **base}, upper], GPU))["snapshot"]
    assert snapshot["host"]["distribution"]["value"]["id"] == "rocky"
    assert [each["name"] for each in snapshot["system_packages"]["value"]] == [
        "cuda-compat-12-4",
        "nvidia-container-toolkit",
        "nvidia-driver-cuda-libs",
    ]
    old = ask(tmp_path, save(tmp_path / "ubi8.tar", [{**ROCKY, "/var/lib/rpm/Packages": b"\0" * 4096}]))["snapshot"]
    assert "Berkeley DB" in old["system_packages"]["detail"]


# -- labels ------------------------------------------------------------------------------------------------------------


def test_without_labels_the_labels_tell_nothing_and_what_to_do_is_said(tmp_path: Path, torch_image: str) -> None:
    document = ask(tmp_path, torch_image, "--labels-only", status=3)
    assert (document["verdict"], document["contract"], document["snapshot"]) == ("unknown", None, None)
    assert "--format labels | docker build -t" in document["outcomes"][0]["why"]


def test_labels_alone_give_what_the_image_gives(tmp_path: Path, torch_image: str) -> None:
    labels = labelled(tmp_path, torch_image)
    image = save(tmp_path / "labelled.tar", [{**DEBIAN, **PYTHON}, TORCH], GPU, labels)
    whole, alone = ask(tmp_path, image), ask(tmp_path, image, "--labels-only")
    assert alone["contract"] == whole["contract"]
    assert alone["verdict"] == whole["verdict"]
    assert alone["image"]["needs"] == whole["image"]["needs"]
    done = gpucheck("image", image, "--verify-labels", cache=tmp_path)
    assert (done.returncode, "✗" in done.stdout) == (0, False)


def test_labels_of_the_base_image_do_not_speak_for_what_is_built_on_it(tmp_path: Path) -> None:
    base = save(tmp_path / "base.tar", [{**DEBIAN, **PYTHON}], GPU)
    labels = {**labelled(tmp_path, base), "gpu-capable.cuda": "13", "gpu-capable.driver-floor": "580.65.06"}
    child = save(tmp_path / "child.tar", [{**DEBIAN, **PYTHON}, TORCH], GPU, labels)
    why = ask(tmp_path, child, "--labels-only", status=3)["outcomes"][0]["why"]
    assert "it speaks of 1 of 2 layers" in why
    # The readable ones are the base's too, and say 13 where torch is for 12.
    done = gpucheck("image", child, "--verify-labels", cache=tmp_path)
    assert done.returncode == 1
    assert "✗ gpu-capable.cuda" in done.stdout and "CUDA 12" in done.stdout
    assert "of the base image: it does not count for this one" in done.stdout
    # A floor that is higher than needed is strict, and no lie.
    assert "✗ gpu-capable.driver-floor" not in done.stdout
    assert [finding["rule"] for finding in ask(tmp_path, child)["findings"]] == ["label-contradicts-image"]


LIES: dict[str, Mapping[str, str]] = {
    "gpu-capable.cuda": {"gpu-capable.cuda": "11"},
    "gpu-capable.driver-floor": {"gpu-capable.driver-floor": "450.80.02"},
    "gpu-capable.gpu": {"gpu-capable.gpu": "false"},
    "gpu-capable.python": {"gpu-capable.python": "3.9"},
}


@pytest.mark.parametrize("label", LIES)
def test_a_label_that_is_not_true_is_found(tmp_path: Path, label: str) -> None:
    image = save(tmp_path / "app.tar", [{**DEBIAN, **PYTHON}, TORCH], GPU, LIES[label])
    done = gpucheck("image", image, "--verify-labels", cache=tmp_path)
    assert (done.returncode, f"✗ {label} " in done.stdout) == (1, True), done.stdout


def test_a_contract_that_was_changed_by_hand_is_found(tmp_path: Path, torch_image: str) -> None:
    labels = labelled(tmp_path, torch_image)
    labels["gpu-capable.contract"] = labels["gpu-capable.contract"].replace("sm_90", "sm_120")
    image = save(tmp_path / "labelled.tar", [{**DEBIAN, **PYTHON}, TORCH], GPU, labels)
    done = gpucheck("image", image, "--verify-labels", cache=tmp_path)
    assert done.returncode == 1
    assert "✗ gpu-capable.contract: code says" in done.stdout


def test_an_image_without_labels_has_none_to_verify(tmp_path: Path, torch_image: str) -> None:
    assert gpucheck("image", torch_image, "--verify-labels", cache=tmp_path).returncode == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no json", "is no contract"),
        ("[]", "is no contract"),
        ("{}", "is no contract"),
        ('{"schema":99,"layers":2,"chain":""}', "has schema 99, this gpucheck reads 1"),
        ("[" * 60_000, "is no contract"),
        (" " * 70_000, "characters, more than"),
    ],
    ids=["text", "list", "empty", "schema", "deep", "long"],
)
def test_a_contract_label_that_is_none_is_said_to_be_none(tmp_path: Path, text: str, why: str) -> None:
    image = save(tmp_path / "app.tar", [DEBIAN], GPU, {"gpu-capable.contract": text})
    assert why in ask(tmp_path, image, "--labels-only", status=3)["outcomes"][0]["why"]


def test_a_child_that_only_sets_a_variable_keeps_the_contract(tmp_path: Path, torch_image: str) -> None:
    labels = labelled(tmp_path, torch_image)
    child = {**GPU, "NVIDIA_REQUIRE_CUDA": "cuda>=12.6"}
    image = save(tmp_path / "child.tar", [{**DEBIAN, **PYTHON}, TORCH], child, labels)
    assert ask(tmp_path, image, "--labels-only")["contract"]["requirements"] == [["NVIDIA_REQUIRE_CUDA", "cuda>=12.6"]]
    moved = save(tmp_path / "moved.tar", [{**DEBIAN, **PYTHON}, TORCH], {**GPU, "LD_LIBRARY_PATH": "/x"}, labels)
    assert "LD_LIBRARY_PATH" in ask(tmp_path, moved, "--labels-only", status=3)["outcomes"][0]["why"]


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("/nowhere/app.tar",),
        ("app.tar", "--format", "xml"),
        ("app.tar", "--labels-only", "--verify-labels"),
        ("app.tar", "--labels-only", "--format", "labels"),
        ("app.tar", "--verify-labels", "--format", "labels"),
        ("app.tar", "--env", "novalue"),
        ("app.tar", "--python", "/nowhere"),
    ],
    ids=" ".join,
)
def test_wrong_words_get_one_line_and_status_2(tmp_path: Path, words: tuple[str, ...]) -> None:
    image = save(tmp_path / "app.tar", [DEBIAN])
    done = gpucheck("image", *(image if word == "app.tar" else word for word in words), cache=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr


def test_broken_libraries_are_told_and_the_rest_is_reported(tmp_path: Path) -> None:
    broken = {
        f"{SITE}/torch/lib/libtorch_cuda.so": b"\x7fELF" + b"\xff" * 5000,
        f"{SITE}/torch-2.7.1.dist-info/RECORD": "torch/lib/libtorch_cuda.so,,\n",
    }
    image = save(tmp_path / "app.tar", [{**DEBIAN, **PYTHON}, {**TORCH, **broken}], GPU)
    document = ask(tmp_path, image)
    assert document["contract"]["code"][0]["name"] == "torch"
