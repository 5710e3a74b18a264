"""Packages among themselves, out of the files that installers leave."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from gpucheck.facts import Need, Packages, Seen, Unseen, Wheel
from gpucheck.probes.host import host
from gpucheck.probes.packages import packages
from gpucheck.probes.python import distributions, pythons
from gpucheck.system import Rootfs
from tests.roots import DEBIAN, SITE, make_root

Files = dict[str, "str | bytes"]


def dist(name: str, version: str, *lines: str, record: str = "", tag: str = "py3-none-any") -> Files:
    """A .dist-info folder as pip writes it."""
    folder = f"{SITE}/{name.replace('-', '_')}-{version}.dist-info"
    head = "\n".join(
        [f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {each}" for each in lines)]
    )
    return {
        f"{folder}/METADATA": f"{head}\n\nRequires-Dist: numpy==1; in the description, not in the head\n",
        f"{folder}/WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n",
        f"{folder}/INSTALLER": "uv",
        f"{folder}/RECORD": record,
    }  # fmt: skip


def look(root: Path, *files: Files) -> Seen[Packages] | Unseen:
    system = Rootfs(make_root(root, {**DEBIAN, **{path: text for each in files for path, text in each.items()}}))
    environments = pythons(system)
    return packages(system, environments, distributions(system, environments), host(system))


def found(root: Path, *files: Files) -> Packages:
    seen = look(root, *files)
    assert isinstance(seen, Seen), seen
    return seen.value


def digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def test_requirements_that_hold_here_and_what_they_get(tmp_path: Path) -> None:
    seen = found(
        tmp_path,
        dist("torch", "2.9.1", "nvidia-cudnn-cu13==9.13.0.50; platform_system == 'Linux'", "triton==3.5.1; python_version < '3.12'", "sympy>=1.13", "nvidia-nccl-cu13==2.27.7; platform_machine == 'aarch64'"),
        dist("nvidia-cudnn-cu13", "9.10.1.4", "nvidia-cublas"),
    )  # fmt: skip
    assert seen.needs == (
        Need("nvidia-cudnn-cu13 9.10.1.4", SITE, "nvidia-cublas", "", "", ""),
        Need("torch 2.9.1", SITE, "nvidia-cudnn-cu13", "==9.13.0.50", "", "9.10.1.4"),
    )
    assert seen.wheels[0] == Wheel("nvidia-cudnn-cu13", "9.10.1.4", SITE, "uv", ("py3-none-any",))
    assert seen.unread == ()


def test_an_extra_that_is_asked_for_is_a_need_and_another_is_not(tmp_path: Path) -> None:
    seen = found(
        tmp_path,
        dist("torch", "2.15.0", "cuda-toolkit[cublas]==13.2.2"),
        dist("cuda-toolkit", "13.2.2", "nvidia-cublas==13.4.1.3.*; (sys_platform == 'linux') and extra == 'cublas'", "nvidia-curand==10.4; extra == 'curand'"),
        dist("tensorflow", "2.21.0", "nvidia-cublas-cu12<13.0,>=12.5.3.2; extra == 'and-cuda'"),
    )  # fmt: skip
    assert [(need.by.split()[0], need.name, need.extra) for need in seen.needs] == [
        ("cuda-toolkit", "nvidia-cublas", ""),
        ("tensorflow", "nvidia-cublas-cu12", "and-cuda"),
        ("torch", "cuda-toolkit", ""),
    ]


def test_whose_files_are_on_disk_where_two_own_them(tmp_path: Path) -> None:
    cpu, gpu = b"cpu build", b"gpu build!"
    same = digest(b"same")
    record = "onnxruntime/capi/state.so,{},{}\nonnxruntime/LICENSE," + same + ",4\nonnxruntime/x.pyc,,\n"
    seen = found(
        tmp_path,
        dist("onnxruntime", "1.23.0", record=record.format(digest(cpu), len(cpu))),
        dist("onnxruntime-gpu", "1.23.0", record=record.format(digest(gpu), len(gpu))),
        {f"{SITE}/onnxruntime/capi/state.so": cpu},
    )
    (overlap,) = seen.overlaps
    assert overlap.owners == ("onnxruntime 1.23.0", "onnxruntime-gpu 1.23.0")
    assert (overlap.winner, overlap.count, overlap.file) == ("onnxruntime 1.23.0", 1, "onnxruntime/capi/state.so")


def test_files_of_one_size_are_told_apart_by_their_hash(tmp_path: Path) -> None:
    record = "nvidia/cudnn/lib/libcudnn.so.9,{},4\n"
    seen = found(
        tmp_path,
        dist("nvidia-cudnn-cu12", "9.10.2.21", record=record.format(digest(b"cu12"))),
        dist("nvidia-cudnn-cu13", "9.13.0.50", record=record.format(digest(b"cu13"))),
        {f"{SITE}/nvidia/cudnn/lib/libcudnn.so.9": b"cu13"},
    )
    assert [overlap.winner for overlap in seen.overlaps] == ["nvidia-cudnn-cu13 9.13.0.50"]


def test_wheels_for_two_cuda_majors_with_folders_of_their_own_do_not_overlap(tmp_path: Path) -> None:
    seen = found(
        tmp_path,
        dist("nvidia-cublas-cu12", "12.8.4.1", record="nvidia/cublas/lib/libcublas.so.12,sha256=a,1\n"),
        dist("nvidia-cublas", "13.0.0.19", record="nvidia/cu13/lib/libcublas.so.13,sha256=b,1\n"),
    )
    assert seen.overlaps == ()


def test_libraries_that_are_listed_and_gone(tmp_path: Path) -> None:
    record = "nvidia/nccl/lib/libnccl.so.2,sha256=a,1\nnvidia/nccl/include/nccl.h,sha256=b,1\n../../bin/x.so,,\n"
    there = {f"{SITE}/nvidia/cublas/lib/libcublas.so.12": b"x"}
    seen = found(
        tmp_path,
        dist("nvidia-nccl-cu12", "2.27.3", record=record),
        dist("nvidia-cublas-cu12", "12.8.4.1", record="nvidia/cublas/lib/libcublas.so.12,sha256=a,1\n"),
        there,
    )
    assert [(lost.owner, lost.file, lost.count) for lost in seen.lost] == [
        ("nvidia-nccl-cu12 2.27.3", "nvidia/nccl/lib/libnccl.so.2", 1)
    ]


def test_nothing_is_known_where_nothing_is_installed(tmp_path: Path) -> None:
    assert isinstance(look(tmp_path, dist("requests", "2.34.2")), Unseen)


def test_metadata_that_is_not_there_is_said(tmp_path: Path) -> None:
    files = dist("torch", "2.9.1")
    del files[f"{SITE}/torch-2.9.1.dist-info/METADATA"]
    assert found(tmp_path, files).unread == (f"{SITE}/torch-2.9.1.dist-info/METADATA",)


def test_broken_files_do_no_harm(tmp_path: Path) -> None:
    """Whatever the bytes are: no error, no endless work."""
    for number, junk in enumerate(
        (b"\xff\xfe\0", b"," * 5000, b"a,b\n" * 100, b"Requires-Dist: nvidia-x;((((\n" * 50, b'"x.so",,')
    ):
        files = dist("torch", "2.9.1")
        seen = look(tmp_path / str(number), dict.fromkeys(files, junk))
        assert isinstance(seen, Seen)
