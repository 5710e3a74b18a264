"""Whole looks at root file systems: an image, a node, odd places for the driver, broken files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gpucheck.codec import encode
from gpucheck.engine import judge
from gpucheck.facts import Framework, PciDevice, Seen, Snapshot, Unseen, Why
from gpucheck.probes import observe
from gpucheck.probes.host import shared_memory
from gpucheck.system import Rootfs
from gpucheck.versions import CudaVersion, DriverVersion
from tests.needs import missing
from tests.roots import DEBIAN, NODE, SITE, TORCH, Link, loadable, make_root


def look(root: Path, files: dict[str, str | bytes], **env: str) -> Snapshot:
    return observe(Rootfs(make_root(root, files), env))


def test_an_image_with_torch(tmp_path: Path) -> None:
    seen = look(tmp_path, {**DEBIAN, **TORCH}, NVIDIA_VISIBLE_DEVICES="all", SECRET_TOKEN="x", NVIDIA_API_KEY="y")
    assert isinstance(seen.host.kernel, Unseen) and seen.host.kernel.why is Why.NOT_APPLICABLE
    assert (seen.host.architecture, seen.host.libc.value.version) == ("x86_64", "2.41")  # type: ignore[union-attr]
    assert seen.frameworks == (
        Framework(
            "torch", "2.7.1+cu126", SITE, True, CudaVersion(12, 6), 12,
            ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"), f"{SITE}/torch/version.py",
        ),
    )  # fmt: skip
    assert [(library.soname, library.version, library.owner) for library in seen.libraries] == [
        ("libcudart.so.12", "12.6.77", "nvidia-cuda-runtime-cu12 12.6.77"),
        ("libcublas.so.12", "12.6.4.1", "nvidia-cublas-cu12 12.6.4.1"),
        ("libcublasLt.so.12", "12.6.4.1", "nvidia-cublas-cu12 12.6.4.1"),
    ]
    assert seen.environment == (("NVIDIA_VISIBLE_DEVICES", "all"),)
    assert judge(seen).exit_code() == 0


def test_a_node_from_its_files(tmp_path: Path) -> None:
    seen = look(tmp_path, NODE)
    assert isinstance(seen.kernel.driver, Seen) and isinstance(seen.pci, Seen)
    assert (seen.kernel.driver.value.version, seen.kernel.driver.value.flavour) == (DriverVersion("580.95.05"), "open")
    assert seen.pci.value == (PciDevice("0000:3b:00.0", "2330", "gpu", "nvidia", False, "NVIDIA H100 80GB HBM3"),)
    assert seen.kernel.parameters.value == (
        ("DeviceFileMode", "438"),
        ("ResmanDebugLevel", "4294967295"),
        ("uvm_disable_hmm", "N"),
    )  # type: ignore[union-attr]
    assert seen.kernel.majors.value == ("nvidia", "nvidia-modeset", "nvidia-uvm")  # type: ignore[union-attr]
    assert [(copy.kind, copy.version) for copy in seen.libcuda_copies] == [("driver", "580.95.05")]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/usr/local/nvidia/lib64/libcuda.so.1", "driver"),
        ("/home/kubernetes/bin/nvidia/lib64/libcuda.so.1", "driver"),
        ("/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libcuda.so.1", "driver"),
        ("/x86_64-bottlerocket-linux-gnu/sys-root/usr/lib/nvidia/tesla/libcuda.so.1", "driver"),
        ("/usr/lib/wsl/lib/libcuda.so.1", "wsl"),
        ("/usr/local/cuda-12.9/compat/libcuda.so.1", "compat"),
        ("/usr/local/cuda/lib64/stubs/libcuda.so", "stub"),
        ("/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1", "tegra"),
    ],
)
def test_copies_of_libcuda_by_where_they_lie(tmp_path: Path, path: str, kind: str) -> None:
    seen = look(tmp_path, {**DEBIAN, path: b"\x7fELF" + b"\0" * 2_000_000})
    assert [(copy.path, copy.kind) for copy in seen.libcuda_copies] == [(path, kind)]


def test_a_driver_where_the_linker_does_not_look(tmp_path: Path) -> None:
    files = {name: content for name, content in NODE.items() if "/usr/lib/x86_64-linux-gnu" not in name}
    place = "/usr/local/nvidia/lib64/libcuda.so"
    seen = look(
        tmp_path,
        {
            **files,
            "/lib64/ld-linux-x86-64.so.2": loadable(),
            f"{place}.1": Link("libcuda.so.580.95.05"),
            f"{place}.580.95.05": b"\x7fELF" + b"\0" * 2_000_000,
        },
    )
    assert [finding.rule for finding in judge(seen).roots] == ["libcuda-off-loader-path"]


def test_where_the_linker_cannot_be_read_nothing_follows_from_finding_no_libcuda(tmp_path: Path) -> None:
    files = {name: content for name, content in NODE.items() if "/usr/lib/x86_64-linux-gnu" not in name}
    seen = look(tmp_path, {**files, "/lib64/ld-linux-x86-64.so.2": b"\x7fELF"})
    assert seen.libcuda.how == "unknown"
    ended = {outcome.rule: outcome.status.value for outcome in judge(seen).outcomes}
    assert {ended[rule] for rule in ("libcuda-missing", "libcuda-off-loader-path", "libcuda-link-missing")} == {
        "unknown"
    }


def test_a_second_link_to_a_copy_is_no_second_copy(tmp_path: Path) -> None:
    seen = look(
        tmp_path,
        {
            **NODE,
            "/usr/lib64": Link("lib/x86_64-linux-gnu"),
            "/usr/lib/x86_64-linux-gnu/libcuda.so": Link("libcuda.so.1"),
        },
    )
    assert len(seen.libcuda_copies) == 1


def test_wsl_and_jetson_are_known_by_their_files(tmp_path: Path) -> None:
    wsl = look(tmp_path / "wsl", {**NODE, "/proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2\n"})
    jetson = look(
        tmp_path / "jetson", {**DEBIAN, "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081\n"}
    )
    assert wsl.host.wsl and not jetson.host.wsl
    assert jetson.host.tegra.value.startswith("R36 (release)")  # type: ignore[union-attr]


def test_musl(tmp_path: Path) -> None:
    seen = look(tmp_path, {"/etc/os-release": "ID=alpine\nVERSION_ID=3.22.0\n", "/lib/ld-musl-x86_64.so.1": b"\x7fELF"})
    assert (seen.host.libc.value.kind, seen.host.architecture) == ("musl", "x86_64")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/proc/driver/nvidia/version", "\0\0garbage\xff"),
        ("/etc/os-release", "=\n\n\"\n'"),
        ("/proc/modules", "\n\n"),
        (f"{SITE}/torch/version.py", "import os; os.system('touch /tmp/owned')"),
        ("/etc/docker/daemon.json", "[1, 2"),
        ("/usr/local/cuda/compat/libcuda.so.1", b"\x7fELF\x02\x01\x01" + b"\xff" * 500),
        ("/etc/ld.so.cache", b"glibc-ld.so.cache1.1" + b"\xff" * 100),
        ("/lib64/ld-linux-x86-64.so.2", b""),
    ],
)  # fmt: skip
def test_broken_files_break_nothing(tmp_path: Path, path: str, content: str | bytes) -> None:
    seen = look(tmp_path, {**NODE, **TORCH, "/usr/bin/dockerd": "", path: content})
    report = judge(seen)
    assert not [outcome for outcome in report.outcomes if outcome.status.value == "crash"]
    json.dumps(encode(seen))


def test_an_empty_root_and_one_of_links_only(tmp_path: Path) -> None:
    look(tmp_path / "empty", {"/x/": ""})
    look(
        tmp_path / "links",
        {
            "/proc": Link("proc"),
            "/etc": Link("/"),
            "/usr/lib": Link("../../../../.."),
            "/lib": Link("/usr/lib"),
            "/sys": Link("/dev/zero"),
        },
    )


def test_nothing_outside_the_root_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path / "root", {**NODE, **TORCH, "/opt/conda": Link("/../../../../../../etc")})
    opened: list[str] = []
    real = os.open

    def watching(path: str, *arguments: int, **named: int) -> int:
        opened.append(str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "open", watching)
    observe(Rootfs(root))
    inside = [path for path in opened if path.startswith(root)]
    assert (
        inside
        and [
            path
            for path in opened
            if not path.startswith((root, os.path.dirname(os.__file__), str(Path(__file__).parents[2])))
        ]
        == []
    )


def test_a_kernel_module_on_disk_tells_its_version_and_whether_it_is_signed(tmp_path: Path) -> None:
    object_file = tmp_path / "nvidia.o"
    source = (
        '__attribute__((section(".modinfo"))) const char info[] = "license=NVIDIA\\0version=580.95.05\\0srcversion=1";'
    )
    compiler = shutil.which("cc") or missing("kernel modules on disk", "install a C compiler")
    subprocess.run([compiler, "-c", "-x", "c", "-", "-o", str(object_file)], input=source, text=True, check=True)
    module = object_file.read_bytes()
    place = "/lib/modules/6.8.0-40-generic/updates/dkms"
    for content, signer in (
        (module, ""),
        (module + b"PKCS#7~Module signature appended~\n", "signed"),
        (b"\x7fELF", "unknown"),
    ):
        seen = look(tmp_path / (signer or "none"), {**NODE, f"{place}/nvidia.ko": content})
        (found,) = seen.kernel.files.value  # type: ignore[union-attr]
        assert (found.kernel, found.signer) == ("6.8.0-40-generic", signer)
        assert found.version == ("580.95.05" if signer != "unknown" else "")


@pytest.mark.parametrize(
    ("mounts", "size"),
    [
        ("proc /proc proc rw 0 0\nshm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k 0 0\n", 64 << 20),
        ("tmpfs /dev/shm tmpfs rw,size=8g,inode64 0 0\n", 8 << 30),
        ("tmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\n", None),
        ("", None),
    ],
)
def test_the_size_of_shared_memory(tmp_path: Path, mounts: str, size: int | None) -> None:
    class Live(Rootfs):
        live = True

    found = shared_memory(Live(make_root(tmp_path, {"/proc/mounts": mounts})))
    assert (found.value if isinstance(found, Seen) else None) == size
