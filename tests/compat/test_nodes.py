"""Nodes as they are named: typed, in files, from clouds; GPUs by the names that people and NVML use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpucheck.codec import encode
from gpucheck.compat import inventory
from gpucheck.compat.inventory import BadNode, change, read, typed
from gpucheck.compat.node import of_snapshot
from gpucheck.facts import ContainerRuntime, Kubernetes, Seen
from gpucheck.kb import clouds, gpus
from gpucheck.kb.capabilities import capabilities
from tests.machines import ABSENT, DOCKER, answers, bare, gpu, healthy, nvml_answers


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "driver=550.54.15,gpu=A100-SXM4-80GB,toolkit=1.18,mode=cdi",
            "driver 550.54.15 (CUDA 12.4), A100-SXM4-80GB (8.0), toolkit 1.18 (cdi)",
        ),
        ("driver=535,gpu=H100,gpu=V100", "driver 535 (CUDA 12.2), H100 (9.0) + V100 (7.0)"),
        ("driver=580.95.05,gpu=L4,gpu=L4", "driver 580.95.05 (CUDA 13.0), L4 (8.9)"),
        ("gpu=GB200", "driver unknown, GB200 (10.0), aarch64"),
        ("driver=580.95.05,arch=arm64", "driver 580.95.05 (CUDA 13.0), GPU unknown, aarch64"),
        ("driver=583.10", "driver 583.10 (CUDA 13.0 to 13.1), GPU unknown"),
        ("driver=700.1,gpu=none,mode=gke", "driver 700.1 (CUDA 13.5 or newer), no GPU, gke"),
        ("driver=540.4.0,cuda=12.6,gpu=Orin,mode=csv", "driver 540.4.0 (CUDA 12.6), Orin (8.7), csv, aarch64"),
        (
            "driver=580.95.05,gpu=H100,toolkit=1.17.8",
            "driver 580.95.05 (CUDA 13.0), H100 (9.0), toolkit 1.17.8 (legacy)",
        ),
    ],
)
def test_a_node_as_typed(text: str, shown: str) -> None:
    assert str(typed(text)) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "nothing",
            "nothing: no file, no driver=VERSION,gpu=NAME and no node image of a cloud; list those: gpucheck kb clouds",
        ),
        ("gke-cos-129-l5", "did you mean gke-cos-129-l4"),
        ("driver=new", "driver=new: driver 'new' is no version such as 550.54.15 or 550"),
        ("driver=580,cuda=13", "cuda '13' is no version such as 12.4"),
        ("driver=580,toolkit=new", "toolkit 'new' is no version such as 1.18.0"),
        ("driver=580,mode=fast", "mode 'fast'; choose one of cdi, legacy, csv, gke, none"),
        ("driver=580,colour=red", "unknown key 'colour'; keys: name, driver, gpu, toolkit, mode, arch, cuda"),
        ("driver=580,driver=570", "driver is given twice"),
        ("driver=580,gpu=", "'gpu=' is not KEY=VALUE"),
        ("driver=580,", "'' is not KEY=VALUE"),
    ],
)
def test_a_node_that_cannot_be_understood(text: str, message: str) -> None:
    with pytest.raises(BadNode) as caught:
        read(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "capability", "brand"),
    [
        ("A100-SXM4-80GB", "8.0", 14), ("NVIDIA A100 80GB PCIe", "8.0", 14), ("A100-SXM4-40GB MIG 1g.5gb", "8.0", 14),
        ("NVIDIA H100 80GB HBM3", "9.0", 14), ("nvidia-h100-mega-80gb", "9.0", 14), ("nvidia-h200-141gb", "9.0", 14),
        ("Tesla T4", "7.5", 14), ("nvidia-tesla-t4", "7.5", 14), ("Tesla V100-SXM2-16GB", "7.0", 2), ("nvidia-l4", "8.9", 14),
        ("L40S", "8.9", 14), ("A10", "8.6", 14), ("NVIDIA A10G", "8.6", 14), ("GH200 480GB", "9.0", 14), ("B200", "10.0", 14),
        ("NVIDIA GeForce RTX 4090", "8.9", 5), ("RTX4090", "8.9", 5), ("rtx 3060 ti", "8.6", 5), ("NVIDIA GeForce RTX 4070 Laptop GPU", "8.9", 5),
        ("NVIDIA RTX A6000", "8.6", 13), ("A6000", "8.6", 13), ("NVIDIA RTX 6000 Ada Generation", "8.9", 13), ("Quadro RTX 6000", "7.5", 12),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "12.0", None), ("RTX 6000", None, None), ("H1000", None, None), ("", None, None),
    ],
)  # fmt: skip
def test_a_gpu_by_name(name: str, capability: str | None, brand: int | None) -> None:
    row = gpus.find(name)
    assert (str(row.capability) if row else None, row.brand if row else None) == (capability, brand)


def test_names_of_gpus_agree_with_the_table_of_capabilities() -> None:
    for row in gpus.gpus():
        assert row.capability in capabilities()
        for name in row.names:
            assert gpus.find(name) is row, f"{name} is found as {gpus.find(name)}"
    for capability, row in capabilities().items():
        for product in row.products:
            found = gpus.find(product)
            assert found is None or found.capability == capability or row.now, product
    assert gpus.nearest("A10G0") and gpus.nearest("xyz") == ()


def test_every_node_image_of_a_cloud_can_be_named() -> None:
    for row in clouds.node_images():
        found = read(row.preset)
        assert [node.driver for node in found] == list(row.drivers)
        for node in found:
            assert node.mode in ("gke", "") and node.source.startswith("https://")
    (node,) = read("gke-cos-129-gb200")
    assert (node.architecture, node.mode) == ("aarch64", "gke")
    assert read("eks-al2023-20260714")[0].gpus is None
    (node,) = read("eks-al2023-20260714,gpu=A10G,toolkit=1.19")
    assert str(node) == "driver 580.159.03 (CUDA 13.0), A10G (8.6), toolkit 1.19 (cdi)"
    with pytest.raises(BadNode):
        read("eks-al2023-20260714,colour=red")


def test_files_of_nodes(tmp_path: Path) -> None:
    snapshot = healthy(
        nvml=nvml_answers(gpus=(gpu(brand=14),)), kubernetes=Seen(Kubernetes(False, "worker-7", ""), "env")
    )
    (tmp_path / "a.json").write_text(json.dumps(encode(snapshot)))
    (tmp_path / "b.json").write_text(json.dumps({"schema": 1, "command": "doctor", "snapshot": encode(healthy())}))
    (tmp_path / "c.json").write_text(
        json.dumps([{"name": "x", "driver": "550.54.15", "gpu": ["A100", "V100"]}, {"driver": "535"}])
    )
    (tmp_path / "d.jsonl").write_text(
        '{"driver": "580.95.05", "gpu": "L4"}\n\n{"driver": "470.256.02", "gpu": "K80"}\n'
    )
    (tmp_path / "ignored.txt").write_text("x")
    assert [node.name for node in read(str(tmp_path))] == ["worker-7", "b", "x", "c[1]", "d[0]", "d[1]"]
    (node,) = read(str(tmp_path / "a.json"))
    assert (str(node.driver), node.driven, node.source) == ("580.95.05", True, str(tmp_path / "a.json"))
    assert str(read(str(tmp_path / "d.jsonl"))[1]) == "driver 470.256.02 (CUDA 11.4), K80 (3.7)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not text in UTF-8"),
        (b"{", "not JSON"),
        (b"[]", "no node in it"),
        (b"[1]", "expected a snapshot or a node, not 1"),
        (b'{"schema": 99}', "schema 99, this gpucheck reads 1"),
        (b'{"schema": 1}', "no 'tool'"),
        (b'{"driver": 550}', "all values of a node are text"),
        (b'{"driver": "550", "colour": "red"}', "unknown 'colour'"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "node.json"
    file.write_bytes(content)
    with pytest.raises(BadNode) as caught:
        read(str(file))
    assert message in str(caught.value) and str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_without_nodes(tmp_path: Path) -> None:
    with pytest.raises(BadNode, match=r"no \*.json"):
        read(str(tmp_path))


def engines(toolkit: str, version: str, cdi: tuple[str, ...] = ()) -> Seen[ContainerRuntime]:
    return Seen(ContainerRuntime(toolkit, version, ("docker",), (), cdi, None), "/usr/bin")


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({"runtime": engines("/usr/bin/nvidia-ctk", "1.17.8")}, "legacy"),
        ({"runtime": engines("/usr/bin/nvidia-ctk", "1.19.0")}, "cdi"),
        ({"runtime": engines("/usr/bin/nvidia-ctk", "")}, ""),
        ({"runtime": engines("", "", ("/etc/cdi/nvidia.yaml",))}, "cdi"),
        ({"runtime": engines("", "")}, "none"),
        ({"runtime": engines("", ""), "kubernetes": Seen(Kubernetes(False, "n", ""), "env")}, ""),
        ({"runtime": engines("", ""), "container": DOCKER}, ""),
        ({"runtime": ABSENT}, ""),
    ],
)
def test_how_containers_get_a_gpu_is_only_said_where_files_show_it(changes: dict[str, object], mode: str) -> None:
    assert of_snapshot(healthy(**changes), "n", "n.json").mode == mode


def test_a_node_without_a_gpu_or_of_which_nothing_was_seen() -> None:
    nothing = of_snapshot(bare(), "n", "n.json")
    assert (nothing.driver, nothing.gpus, [found.rule for found in nothing.trouble]) == (None, (), ["no-gpu"])
    unseen = of_snapshot(bare(pci=ABSENT), "n", "n.json")
    assert unseen.gpus is None


def test_cuda_is_what_the_driver_answers_not_cuda_compat() -> None:
    snapshot = healthy(cuda=answers(cuda="13.1", gpus=(gpu(),)))
    assert str(of_snapshot(snapshot, "n", "f").implemented) == "13.1"


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("driver", "535", "driver 535 (CUDA 12.2), A100 (8.0), toolkit 1.18 (cdi)"),
        ("gpu", "B200+V100", "driver 550.54.15 (CUDA 12.4), B200 (10.0) + V100 (7.0), toolkit 1.18 (cdi)"),
        ("gpu", "GB200", "driver 550.54.15 (CUDA 12.4), GB200 (10.0), toolkit 1.18 (cdi), aarch64"),
        ("toolkit", "1.17.1", "driver 550.54.15 (CUDA 12.4), A100 (8.0), toolkit 1.17.1 (legacy)"),
        ("mode", "legacy", "driver 550.54.15 (CUDA 12.4), A100 (8.0), toolkit 1.18 (legacy)"),
        ("arch", "arm64", "driver 550.54.15 (CUDA 12.4), A100 (8.0), toolkit 1.18 (cdi), aarch64"),
        ("cuda", "12.5", "driver 550.54.15 (CUDA 12.5), A100 (8.0), toolkit 1.18 (cdi)"),
    ],
)
def test_what_if(key: str, value: str, shown: str) -> None:
    node = change(typed("driver=550.54.15,gpu=A100,toolkit=1.18"), key, value)
    assert (str(node), node.source) == (shown, f"as typed, --set {key}={value}")


def test_default_modes_come_from_the_version() -> None:
    assert [inventory.default_mode(version) for version in ("", "1.17.9", "1.18.0-rc.1", "1.20")] == [
        "",
        "legacy",
        "cdi",
        "cdi",
    ]
