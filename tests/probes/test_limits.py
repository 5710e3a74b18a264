"""Probes of limits, compilers, shadows and what keeps a GPU off the bus, on files as the real thing writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpucheck.facts import Distributed, Hidden, Libc, PciDevice, Python, Seen, Unseen, Why
from gpucheck.probes import compiling, hidden, limits, modules, runtime, shadows
from gpucheck.probes.python import distributions, pythons
from gpucheck.system import Rootfs
from tests.corpus.elves import Shared
from tests.corpus.elves import write as elf
from tests.roots import Link, make_root

PACKAGES = "/opt/venv/lib/python3.12/site-packages"
TORCH = (Distributed("torch", "2.5.1", PACKAGES),)


def root(tmp_path: Path, files: dict[str, str | bytes | Link], **env: str) -> Rootfs:
    return Rootfs(make_root(tmp_path, files), env)  # type: ignore[arg-type]


class Live(Rootfs):
    live = True


def live(tmp_path: Path, files: dict[str, str | bytes], **env: str) -> Live:
    return Live(make_root(tmp_path, files), env)


# -- limits ------------------------------------------------------------------------------------------------------------

LIMITS = "Limit                     Soft Limit           Hard Limit           Units     \nMax locked memory         8388608              8388608              bytes     \n"


def test_locked_memory(tmp_path: Path) -> None:
    assert limits.locked_memory(live(tmp_path, {"/proc/self/limits": LIMITS})) == Seen(8 << 20, "/proc/self/limits")


def test_a_process_that_may_lock_what_it_likes_has_no_limit(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"/proc/self/limits": LIMITS, "/proc/self/status": "CapEff:\t000001ffffffffff\n"}
    found = limits.locked_memory(live(tmp_path, files))
    assert isinstance(found, Unseen) and found.why is Why.ABSENT


def test_no_limit(tmp_path: Path) -> None:
    text = LIMITS.replace("8388608  ", "unlimited")
    found = limits.locked_memory(live(tmp_path, {"/proc/self/limits": text}))
    assert isinstance(found, Unseen) and found.why is Why.ABSENT


def test_interfaces_and_no_infiniband_that_may_be_opened(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "/sys/class/net/eth0/operstate": "up\n",
        "/sys/class/infiniband/mlx5_0/ports/1/state": "4: ACTIVE\n",
    }
    found = limits.network(live(tmp_path, files))
    assert isinstance(found, Seen) and found.value.interfaces == ("eth0",) and found.value.rdma == ()


@pytest.mark.parametrize(
    ("flags", "avx", "virtual"), [("sse2 avx avx2", True, False), ("sse2 hypervisor", False, True)]
)
def test_processor(tmp_path: Path, flags: str, avx: bool, virtual: bool) -> None:
    text = f"processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t\t: {flags}\n"
    files: dict[str, str | bytes] = {
        "/proc/cpuinfo": text,
        "/proc/sys/kernel/osrelease": "6.8.0\n",
        "/proc/version": "Linux",
    }
    found = limits.processor(live(tmp_path, files))
    assert isinstance(found, Seen)
    assert (found.value.model, found.value.avx, found.value.virtual) == ("Some CPU @ 2.00GHz", avx, virtual)


def test_the_last_mount_on_a_folder_is_the_one_that_is_seen(tmp_path: Path) -> None:
    mounts = "overlay / overlay rw 0 0\ntmpfs /tmp tmpfs rw,noexec 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/sdb1 /home ext4 rw,noexec 0 0\n"
    installed = (*TORCH, Distributed("triton", "3.1.0", PACKAGES))
    found = limits.code_folders(live(tmp_path, {"/proc/mounts": mounts}, HOME="/home/anna"), installed)
    assert isinstance(found, Seen)
    assert [(each.path, each.mount, each.options) for each in found.value] == [
        ("/home/anna/.triton/cache", "/home", "rw,noexec"),
        ("/tmp", "/tmp", "rw"),
    ]


# -- what keeps a GPU off the bus --------------------------------------------------------------------------------------

REMOVES = 'ACTION=="add", SUBSYSTEM=="pci", ATTR{vendor}=="0x10de", ATTR{class}=="0x03[0-9]*", ATTR{power/control}="auto", ATTR{remove}="1"'
USB = 'ACTION=="add", SUBSYSTEM=="pci", ATTR{vendor}=="0x10de", ATTR{class}=="0x0c0330", ATTR{remove}="1"'
POWER = 'ACTION=="bind", SUBSYSTEM=="pci", ATTR{vendor}=="0x10de", ATTR{class}=="0x030000", TEST=="power/control", ATTR{power/control}="auto"'


def test_udev_rules_that_remove_the_gpu_and_those_that_do_not() -> None:
    assert hidden.parse_rules(f"# {REMOVES}\n{USB}\n{POWER}\n{REMOVES}\n") == (REMOVES,)


def test_a_rule_in_etc_replaces_the_packages_file_of_its_name(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "/proc/version": "Linux",
        "/lib/udev/rules.d/50-remove-nvidia.rules": f"{REMOVES}\n",
        "/etc/udev/rules.d/50-remove-nvidia.rules": "# nothing\n",
        "/sys/bus/thunderbolt/devices/0-1/authorized": "0\n",
        "/sys/bus/thunderbolt/devices/0-1/device_name": "Core X\n",
        "/sys/bus/thunderbolt/devices/0-0/authorized": "1\n",
    }
    found = hidden.hidden(live(tmp_path, files), Seen((), "/sys/bus/pci/devices"))
    place = "/sys/bus/thunderbolt/devices/0-1/authorized"
    assert found == Seen((Hidden("thunderbolt", "Core X", place),), "udev and Thunderbolt")


def test_nothing_is_looked_for_where_the_gpu_is_there(tmp_path: Path) -> None:
    pci = Seen((PciDevice("0000:01:00.0", "2330", "gpu", "nvidia", False, ""),), "/sys/bus/pci/devices")
    assert isinstance(hidden.hidden(live(tmp_path, {"/proc/version": "Linux"}), pci), Unseen)


# -- the modules and the engines ---------------------------------------------------------------------------------------


def test_which_kernel_a_module_was_built_for_and_whether_suse_supports_it(tmp_path: Path) -> None:
    release = "6.4.0-150600.21-default"
    module = f"/lib/modules/{release}/weak-updates/updates/nvidia.ko"
    info = {"version": "550.90.07", "license": "NVIDIA", "vermagic": f"{release} SMP mod_unload "}
    files: dict[str, str | bytes | Link] = {
        module: elf(Shared("", [], modinfo=info)),
        "/lib/modprobe.d/10-unsupported-modules.conf": "allow_unsupported_modules 0\n",
    }
    system = root(tmp_path / "a", files)
    found = modules.files(system)
    assert isinstance(found, Seen) and [file.built_for for file in found.value] == [release]
    ban = modules.unsupported(system, found)
    assert ban and ban.setting == "allow_unsupported_modules 0"
    partner = {**files, module: elf(Shared("", [], modinfo={**info, "supported": "external"}))}
    system = root(tmp_path / "b", partner)
    assert modules.unsupported(system, modules.files(system)) is None


SECTIONS = """version = {}
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
"""


@pytest.mark.parametrize(("version", "read", "unread"), [(2, ("nvidia",), ()), (3, (), ("nvidia",))])
def test_a_runtime_in_the_section_of_another_version_is_not_read(
    tmp_path: Path, version: int, read: tuple[str, ...], unread: tuple[str, ...]
) -> None:
    path = "/etc/containerd/config.toml"
    assert runtime.read_handlers(root(tmp_path, {path: SECTIONS.format(version)})) == (read, (path,), unread)


def test_the_hosts_ldconfig_and_the_format_of_a_specification(tmp_path: Path) -> None:
    system = root(
        tmp_path, {"/sbin/ldconfig": "", "/etc/cdi/nvidia.yaml": 'kind: nvidia.com/gpu\ncdiVersion: "0.7.0"\n'}
    )
    assert runtime.missing_ldconfig(system, 'ldconfig = "@/sbin/ldconfig.real"') == "/sbin/ldconfig.real"
    assert runtime.missing_ldconfig(system, 'ldconfig = "@/sbin/ldconfig"') == ""
    assert runtime.missing_ldconfig(system, '#ldconfig = "@/sbin/ldconfig.real"') == ""
    assert runtime.format_version(system, "/etc/cdi/nvidia.yaml") == "0.7.0"


def test_docker_without_root(tmp_path: Path) -> None:
    service = "/home/anna/.config/systemd/user/docker.service"
    mine = root(tmp_path / "a", {service: "ExecStart=/usr/bin/dockerd-rootless.sh\n"}, HOME="/home/anna")
    assert runtime.rootless(mine, "") == service
    assert runtime.rootless(mine, 'mode = "cdi"') == ""
    inside = live(tmp_path / "b", {"/proc/self/uid_map": "         0     100000      65536\n"})
    assert runtime.rootless(inside, "").startswith("/proc/self/uid_map")
    host = live(tmp_path / "c", {"/proc/self/uid_map": "         0          0 4294967295\n"})
    assert runtime.rootless(host, "") == ""


# -- packages ----------------------------------------------------------------------------------------------------------


def test_packages_of_the_users_folder_come_first(tmp_path: Path) -> None:
    mine, image = "/home/anna/.local/lib/python3.12/site-packages", "/usr/local/lib/python3.12/site-packages"
    files: dict[str, str | bytes] = {
        "/usr/local/bin/python3": "",
        f"{image}/torch-2.5.1+cu124.dist-info/METADATA": "",
        f"{image}/numpy-2.0.0.dist-info/METADATA": "",
        f"{mine}/torch-2.3.1.dist-info/METADATA": "",
        f"{mine}/numpy-2.0.0.dist-info/METADATA": "",
    }
    system = root(tmp_path, {**files}, HOME="/home/anna", PATH="/usr/local/bin")
    environments = pythons(system)
    assert [each.packages for each in environments] == [(mine, image)]
    installed = distributions(system, environments)
    assert {dist.version for dist in installed if dist.name == "torch"} == {"2.3.1"}
    assert [(each.name, each.version, each.hidden) for each in shadows.shadows(system, environments, installed)] == [
        ("torch", "2.3.1", "2.5.1+cu124")
    ]


@pytest.mark.parametrize("setting", [{"PYTHONNOUSERSITE": "1"}, {"HOME": "/home/bob"}])
def test_the_users_folder_is_left_out(tmp_path: Path, setting: dict[str, str]) -> None:
    mine, image = "/home/anna/.local/lib/python3.12/site-packages", "/usr/local/lib/python3.12/site-packages"
    files: dict[str, str | bytes | Link] = {"/usr/local/bin/python3": "", f"{image}/a.py": "", f"{mine}/a.py": ""}
    system = root(tmp_path, files, **{"HOME": "/home/anna", "PATH": "/usr/local/bin", **setting})
    assert [each.packages for each in pythons(system)] == [(image,)]


def test_an_executable_stack_is_seen_where_glibc_refuses_it(tmp_path: Path) -> None:
    library = f"{PACKAGES}/ctranslate2.libs/libctranslate2.so.4"
    files: dict[str, str | bytes | Link] = {
        library: elf(Shared("libctranslate2.so.4", ["libc.so.6"], execstack=True)),
        f"{PACKAGES}/ctranslate2-4.5.0.dist-info/RECORD": "ctranslate2.libs/libctranslate2.so.4,,\n",
        f"{PACKAGES}/ctranslate2-4.5.0.dist-info/METADATA": "Name: ctranslate2\nVersion: 4.5.0\n",
    }
    system = root(tmp_path, files)
    environments = (Python("/opt/venv", "3.12", (PACKAGES,), "VIRTUAL_ENV"),)
    installed = (Distributed("ctranslate2", "4.5.0", PACKAGES),)
    found = compiling.stacks(system, environments, installed, Seen(Libc("glibc", "2.41"), "libc"))
    assert isinstance(found, Seen) and [each.path for each in found.value] == [library]
    assert isinstance(compiling.stacks(system, environments, installed, Seen(Libc("glibc", "2.39"), "libc")), Unseen)


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"/usr/bin/x86_64-linux-gnu-gcc-13": "", "/usr/bin/gcc": Link("x86_64-linux-gnu-gcc-13")}, 13),
        ({"/usr/bin/gcc": "", "/usr/lib/gcc/x86_64-redhat-linux/15/crtbegin.o": ""}, 15),
        ({"/usr/bin/gcc": "", "/usr/lib/gcc/x86_64-pc-linux-gnu/15.2.1/crtbegin.o": ""}, 15),
        (
            {
                "/usr/bin/gcc": "",
                "/usr/lib/gcc/x86_64-pc-linux-gnu/15.2.1/crtbegin.o": "",
                "/usr/lib/gcc/x86_64-pc-linux-gnu/13.3.0/crtbegin.o": "",
            },
            None,
        ),
        ({}, None),
    ],
)
def test_the_version_of_gcc_without_running_it(
    tmp_path: Path, files: dict[str, str | bytes | Link], version: int | None
) -> None:
    assert compiling.gcc_version(root(tmp_path, files), "/usr/bin/gcc") == version


def test_ollama_with_and_without_its_gpu_part(tmp_path: Path) -> None:
    files: dict[str, str | bytes | Link] = {"/usr/bin/ollama": "", "/usr/lib/ollama/libggml-cpu-haswell.so": ""}
    (program,) = compiling.programs(root(tmp_path / "a", files))
    assert program.backends == ()
    (program,) = compiling.programs(root(tmp_path / "b", {**files, "/usr/lib/ollama/cuda_v12/libggml-cuda.so": ""}))
    assert program.backends == ("/usr/lib/ollama/cuda_v12/libggml-cuda.so",)
    # Releases before 0.5.8 have all in one file: nothing can be said.
    assert compiling.programs(root(tmp_path / "c", {"/usr/bin/ollama": ""})) == ()
