"""GPU code in files, with nvcc and cuobjdump as the oracles."""

from __future__ import annotations

import re
import struct
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucheck.elf.fatbin import MAGIC, FatbinScanner, count, scan, serve, summarize
from gpucheck.probes.python import torch_architectures
from gpucheck.system import Local
from tests.cache import compiler_programs, wheel_packages
from tests.needs import missing

TARGETS = ("sm_75", "sm_90", "sm_90a", "sm_100f", "sm_103a", "sm_120a", "compute_80", "compute_90a", "compute_100f")


def compile_for(folder: Path, *targets: str, options: tuple[str, ...] = ()) -> Path:
    """A fat binary for the targets, made by nvcc."""
    source, made = folder / "kernel.cu", folder / "kernel.fatbin"
    source.write_text('extern "C" __global__ void kernel(float *a) { a[threadIdx.x] += 1; }\n')
    codes = [f"-gencode=arch={target.replace('sm_', 'compute_')},code={target}" for target in targets]
    words = [str(compiler_programs() / "nvcc"), "-fatbin", *codes, *options, "-o", str(made), str(source)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    if done.returncode:
        missing("GPU code as nvcc makes it", f"nvcc says: {done.stderr.strip().splitlines()[:1]}")
    return made


def listed(file: Path) -> Counter[str]:
    """The targets that cuobjdump lists; of machine code for a family it does not say the f."""
    words = [str(compiler_programs() / "cuobjdump"), "-lelf", "-lptx", str(file)]
    said = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120).stdout
    found = re.findall(r"\.sm_(\d+[af]?)\.(cubin|ptx)$", said, re.MULTILINE)
    return Counter(f"{'sm' if kind == 'cubin' else 'compute'}_{number}" for number, kind in found)


def feed(data: bytes, size: int) -> Counter[frozenset[str]]:
    scanner = FatbinScanner()
    for at in range(0, len(data), size):
        scanner.feed(data[at : at + size])
    return scanner.containers()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_for(tmp_path_factory.mktemp("fatbin"), *TARGETS).read_bytes()


def test_targets_are_those_that_nvcc_was_asked_for(made: bytes) -> None:
    assert feed(made, len(made)) == {frozenset(TARGETS): 1}


@pytest.mark.parametrize("options", [("-no-compress",), ("-G",), ("--fatbin-options=-compress-all",)])
def test_compression_and_debugging_change_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    data = compile_for(tmp_path, "sm_90a", "compute_100f", options=options).read_bytes()
    assert feed(data, len(data)) == {frozenset({"sm_90a", "compute_100f"}): 1}


def test_code_for_link_time_optimization_is_no_code_for_a_gpu(tmp_path: Path) -> None:
    file = compile_for(tmp_path, "sm_80", options=("-gencode=arch=compute_90,code=lto_90",))
    assert feed(file.read_bytes(), 1 << 20) == {frozenset({"sm_80"}): 1}


@pytest.mark.parametrize("size", [1, 3, 16, 63, 64, 65, 1000, 4096])
def test_pieces_of_any_size_give_the_same(made: bytes, size: int) -> None:
    data = b"before" + made + b"\0" * 3 + MAGIC + b"between" + made + MAGIC[:2]
    assert feed(data, size) == {frozenset(TARGETS): 2}


def test_what_is_not_needed_can_be_passed_over(made: bytes) -> None:
    data = made + made
    scanner, at, read = FatbinScanner(), 0, 0
    while at < len(data):
        passed = min(scanner.unneeded, len(data) - at)
        scanner.skip(passed)
        at += passed
        scanner.feed(data[at : at + 64])
        read += len(data[at : at + 64])
        at += 64
    assert scanner.containers() == {frozenset(TARGETS): 2}
    assert read < len(data) / 4


@pytest.mark.parametrize(
    ("environment", "file"),
    [
        ("jax", "jax_cuda13_plugin/_solver.so"),
        ("jax", "nvidia/cudnn/lib/libcudnn_cnn.so.9"),
        ("jax", "nvidia/nccl/lib/libnccl.so.2"),  # has relocatable code too, which does not count
        ("xgboost", "xgboost/lib/libxgboost.so"),
        ("cupy", "cupy/random/_generator_api.cpython-311-x86_64-linux-gnu.so"),
    ],
)
def test_real_libraries_have_what_cuobjdump_lists(environment: str, file: str) -> None:
    found = next(wheel_packages(environment).glob(re.sub(r"cpython-\d+", "cpython-*", file)))
    ours: Counter[str] = Counter()
    for target in count(scan(Local(), str(found))):
        ours[target.name.rstrip("f") if target.name.startswith("sm_") else target.name] += target.containers
    assert ours == listed(found)


def test_what_torch_serves_is_its_own_list() -> None:
    library = wheel_packages("torch") / "torch/lib"
    found = summarize(scan(Local(), str(library / "libtorch_cuda.so")))
    assert found is not None
    assert found.served == torch_architectures(Local(), str(library / "libtorch_python.so"))
    assert len(found.targets) > len(found.served), "some kernels are there for more"


def containers(**counts: int) -> Counter[frozenset[str]]:
    return Counter({frozenset(names.split("__")): number for names, number in counts.items()})


@pytest.mark.parametrize(
    ("found", "served"),
    [
        ({"sm_80__sm_90": 100}, ("sm_80", "sm_90")),
        ({"sm_80__sm_90": 99, "sm_80__sm_90__sm_90a": 1}, ("sm_80", "sm_90")),
        ({"sm_80": 30, "sm_90a": 70}, ("sm_80", "sm_90a")),
        ({"sm_100__sm_103f": 5}, ("sm_100",)),
        ({"sm_90__sm_100f": 5}, ("sm_90", "sm_100f")),
        ({"sm_80": 99, "sm_70": 1}, ("sm_80",)),
        ({"sm_80": 90, "sm_80__sm_70": 10}, ("sm_70", "sm_80")),
        ({"sm_80__compute_80": 60, "sm_80": 40}, ("sm_80", "compute_80")),
        ({"sm_80__compute_80": 40, "sm_80": 60}, ("sm_80",)),
        ({"compute_52": 3}, ("compute_52",)),
    ],
)
def test_served_is_what_most_of_the_code_is_there_for(found: dict[str, int], served: tuple[str, ...]) -> None:
    assert serve(containers(**found)) == served


def test_a_file_without_gpu_code_has_none() -> None:
    assert summarize(Counter()) is None


def entry(kind: int = 2, header: int = 64, size: int = 8, architecture: int = 80, flags: int = 0) -> bytes:
    fields = struct.pack("<HHIQIIHHIIIQQQ", kind, 0x101, header, size, 0, 0, 0, 0, architecture, 0, 0, flags, 0, 0)
    return fields[:64] + b"\0" * min(size, 1024)


def container(*entries: bytes, size: int | None = None, version: int = 1) -> bytes:
    body = b"".join(entries)
    return struct.pack("<4sHHQ", MAGIC, version, 16, len(body) if size is None else size) + body


GOOD = container(entry())


@pytest.mark.parametrize(
    "bad",
    [
        MAGIC,
        MAGIC * 10_000,
        container(),
        container(entry(kind=0)),
        container(entry(header=8)),
        container(entry(header=1 << 31)),
        container(entry(size=1 << 40)),
        container(entry(), size=2),
        container(entry(), version=9),
        container(entry(architecture=0)),
        container(entry(architecture=1 << 31)),
        container(entry(kind=300)),
        container(entry(), b"\xff" * 64),
    ],
    ids=str,
)
def test_what_only_looks_like_code_is_none_and_hides_nothing(bad: bytes) -> None:
    assert feed(bad + b"\0" * 128 + GOOD, 100) == {frozenset({"sm_80"}): 1}


@pytest.mark.parametrize("cut", range(1, len(GOOD)))
def test_cut_off_code_does_not_count(cut: int) -> None:
    assert feed(GOOD[:cut], 7) == {}


def test_a_size_beyond_the_end_of_the_file_does_not_count() -> None:
    assert feed(container(entry(size=1 << 40), size=1 << 41) + GOOD, 100) == {}


def test_a_flood_is_bounded() -> None:
    scanner = FatbinScanner()
    for _ in range(20):
        scanner.feed(GOOD * 20_000)
    assert sum(scanner.containers().values()) == 1 << 18


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([GOOD, MAGIC, b"\0", entry(), GOOD[:40]]) | st.binary(max_size=80)), st.integers(1, 90))
def test_any_bytes_in_any_pieces_give_one_answer(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)
    assert feed(data, size) == feed(data, max(len(data), 1))
