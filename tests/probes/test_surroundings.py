"""Probes of what surrounds a driver, on files as the real thing writes them."""

from __future__ import annotations

import gzip
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gpucheck.facts import Ban, Dkms, KernelMessage, Mps, Seen, Service, SystemPackage, ToolkitHome, Unseen, Why
from gpucheck.probes import host, kubernetes, libraries, modules, rpm, runtime, services, system_packages
from gpucheck.probes.kernel import enforcement, parse_messages, suspends
from gpucheck.system import Rootfs
from gpucheck.system.local import Local
from tests.roots import DEBIAN, NODE, Link, make_root

KERNEL = "6.8.0-40-generic"


def root(tmp_path: Path, files: dict[str, str | bytes], **env: str) -> Rootfs:
    return Rootfs(make_root(tmp_path, files), env)


# -- modules on disk ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("updates/dkms/nvidia.ko", "nvidia"),
        ("updates/dkms/nvidia.ko.zst", "nvidia"),
        ("updates/dkms/nvidia-uvm.ko.xz", "nvidia_uvm"),
        ("updates/dkms/nvidia-current.ko", "nvidia"),
        ("updates/dkms/nvidia-current-uvm.ko", "nvidia_uvm"),
        ("updates/dkms/nvidia-tesla-470-uvm.ko", "nvidia_uvm"),
        ("kernel/nvidia-580srv-open/nvidia.ko", "nvidia"),
        ("extra/nvidia/nvidia-uvm.ko", "nvidia_uvm"),
        ("extramodules/nvidia.ko.xz", "nvidia"),
        ("updates/dkms/nvidia-drm.ko", None),
        ("updates/dkms/nvidia-modeset.ko", None),
        ("kernel/drivers/i2c/busses/nvidia-gpu.ko", None),
    ],
)
def test_modules_by_the_names_that_distributions_give_them(tmp_path: Path, name: str, module: str | None) -> None:
    found = modules.files(root(tmp_path, {f"/lib/modules/{KERNEL}/{name}": b"\x7fELF"}))
    assert isinstance(found, Seen)
    assert [(file.kernel, file.name) for file in found.value] == ([(KERNEL, module)] if module else [])


MAKE_LOG = """DKMS make.log for nvidia-470.256.02 for kernel 6.14.4-arch1-2 (x86_64)
make[1]: Entering directory '/usr/lib/modules/6.14.4-arch1-2/build'
/var/lib/dkms/nvidia/470.256.02/build/nvidia/nv-mmap.c: In function 'nv_encode_caching':
/var/lib/dkms/nvidia/470.256.02/build/nvidia/nv-mmap.c:342:5: error: implicit declaration of function 'vm_flags_set'
make[3]: *** [scripts/Makefile.build:207: nvidia/nv-mmap.o] Error 1
"""


def test_dkms_tells_what_it_built_and_what_ended_a_build(tmp_path: Path) -> None:
    tree = "/var/lib/dkms/nvidia"
    files: dict[str, str | bytes] = {
        f"{tree}/470.256.02/6.5.0-15-generic/x86_64/module/nvidia.ko.zst": b"x",
        f"{tree}/470.256.02/build/make.log": MAKE_LOG,
        f"{tree}/kernel-6.5.0-15-generic-x86_64": Link("470.256.02/6.5.0-15-generic/x86_64"),
        f"/lib/modules/{KERNEL}/build": Link("/usr/src/linux-headers-6.8.0-40-generic"),
        "/usr/src/linux-headers-6.8.0-40-generic/Makefile": "",
    }
    found = modules.dkms(root(tmp_path, files), KERNEL)
    assert found == Seen(
        Dkms(
            ("470.256.02",), ("6.5.0-15-generic",), True, f"{tree}/470.256.02/build/make.log",
            "/var/lib/dkms/nvidia/470.256.02/build/nvidia/nv-mmap.c:342:5: error: implicit declaration of function 'vm_flags_set'",
        ),
        "/var/lib/dkms",
    )  # fmt: skip


def test_headers_that_a_link_promises_and_nobody_installed(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "/var/lib/dkms/nvidia/580.95.05/source/dkms.conf": "",
        f"/lib/modules/{KERNEL}/build": Link("/usr/src/linux-headers-6.8.0-40-generic"),
    }
    found = modules.dkms(root(tmp_path, files), KERNEL)
    assert isinstance(found, Seen) and (found.value.headers, found.value.built) == (False, ())


def test_a_log_of_a_build_that_later_succeeded_is_no_failure(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        f"/var/lib/dkms/nvidia/580.95.05/{KERNEL}/x86_64/module/nvidia.ko": b"x",
        "/var/lib/dkms/nvidia/580.95.05/build/make.log": MAKE_LOG,
    }
    found = modules.dkms(root(tmp_path, files), KERNEL)
    assert isinstance(found, Seen) and (found.value.error, found.value.built) == ("", (KERNEL,))


def test_akmods_leaves_the_log_of_a_build_that_failed(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        f"/var/cache/akmods/nvidia/580.95.05-1-for-{KERNEL}.failed.log": MAKE_LOG,
        "/var/cache/akmods/nvidia/575.57.08-1-for-6.5.0-15.failed.log": MAKE_LOG,
    }
    found = modules.dkms(root(tmp_path, files), KERNEL)
    assert isinstance(found, Seen) and found.source == "/var/cache/akmods/nvidia"
    assert (found.value.versions, found.value.built, found.value.headers) == (("580.95.05",), (), False)
    assert found.value.error.endswith("implicit declaration of function 'vm_flags_set'")


def test_no_dkms_is_absent_not_a_failed_build(tmp_path: Path) -> None:
    found = modules.dkms(root(tmp_path, DEBIAN), KERNEL)
    assert isinstance(found, Unseen) and found.why is Why.ABSENT


def test_bans_in_the_forms_of_modprobe_d() -> None:
    text = (
        "# blacklist nvidia\nblacklist nouveau\nblacklist nvidia-uvm # for now\nalias nvidia off\ninstall nvidia /bin/false\n"
        "options nvidia NVreg_DeviceFileMode=0666\nalias nvidia_drm off\ninstall nvidia /sbin/modprobe --ignore-install nvidia\n"
        "softdep nvidia post: nvidia-uvm\nblacklist\n"
    )
    assert [(ban.module, ban.setting) for ban in modules.parse_bans(text, "x")] == [
        ("nouveau", "blacklist nouveau"),
        ("nvidia_uvm", "blacklist nvidia-uvm"),
        ("nvidia", "alias nvidia off"),
        ("nvidia", "install nvidia /bin/false"),
    ]


def test_bans_on_the_kernels_command_line() -> None:
    line = "BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet modprobe.blacklist=nouveau,nvidia rd.driver.blacklist=nouveau module_blacklist=nvidia-uvm password=x\n"
    assert modules.parse_command_line(line) == (
        Ban("nouveau", "modprobe.blacklist=nouveau,nvidia", "/proc/cmdline"),
        Ban("nvidia", "modprobe.blacklist=nouveau,nvidia", "/proc/cmdline"),
        Ban("nouveau", "rd.driver.blacklist=nouveau", "/proc/cmdline"),
        Ban("nvidia_uvm", "module_blacklist=nvidia-uvm", "/proc/cmdline"),
    )


def test_a_file_in_etc_replaces_the_packages_file_of_its_name(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "/usr/lib/modprobe.d/nvidia.conf": "blacklist nvidia\n",
        "/etc/modprobe.d/nvidia.conf": "# nothing\n",
    }
    assert modules.bans(root(tmp_path, files)) == Seen((), "modprobe.d")


def test_firmware_by_driver_version(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "/lib/firmware/nvidia/580.95.05/gsp_ga10x.bin": b"x",
        "/lib/firmware/nvidia/575.57.08/gsp_tu10x.bin.zst": b"x",
        "/lib/firmware/nvidia/ga102/gsp/bootloader-535.113.01.bin": b"x",
        "/lib/firmware/nvidia/560.35.03/": "",
    }
    assert modules.firmware(root(tmp_path, files)) == Seen(("575.57.08", "580.95.05"), "/lib/firmware/nvidia")


# -- the running kernel ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/sys/kernel/security/lockdown": "none [integrity] confidentiality\n"}, "lockdown: integrity"),
        ({"/sys/kernel/security/lockdown": "[none] integrity confidentiality\n"}, ""),
        ({"/sys/module/module/parameters/sig_enforce": "Y\n"}, "sig_enforce = Y"),
        (
            {"/sys/kernel/security/lockdown": "[none] integrity\n", "/sys/module/module/parameters/sig_enforce": "N\n"},
            "",
        ),
        ({}, None),
    ],
)
def test_who_enforces_signatures(tmp_path: Path, files: dict[str, str | bytes], expected: str | None) -> None:
    found = enforcement(root(tmp_path, {**DEBIAN, **files}))
    assert (found.value if isinstance(found, Seen) else None) == expected


@pytest.mark.parametrize(("text", "expected"), [("0\n", 0), ("12\n", 12), ("many\n", None), ("-1\n", None)])
def test_suspends_are_counted(tmp_path: Path, text: str, expected: int | None) -> None:
    found = suspends(root(tmp_path, {"/sys/power/suspend_stats/success": text}))
    assert (found.value if isinstance(found, Seen) else None) == expected


def test_a_message_of_several_lines_is_one_record_of_kmsg() -> None:
    # As /dev/kmsg gives it: the driver's printk holds line breaks, which are written as \\x0a.
    record = (
        "3,1201,99,-;NVRM: The NVIDIA GPU 0000:02:00.0 (PCI ID: 10de:2c58)\\x0aNVRM: installed in this system requires use of the "
        "NVIDIA open kernel modules.\n SUBSYSTEM=pci\n DEVICE=+pci:0000:02:00.0\n"
    )
    assert parse_messages(record) == (
        KernelMessage("NVRM: The NVIDIA GPU 0000:02:00.0 (PCI ID: 10de:2c58)", None),
        KernelMessage("NVRM: installed in this system requires use of the NVIDIA open kernel modules.", None),
    )


class Live(Rootfs):
    """Files that are said to be those of a live system."""

    live = True


LIMITS = "Limit                     Soft Limit           Hard Limit           Units     \nMax address space         {}            unlimited            bytes     \n"


@pytest.mark.parametrize(("limit", "expected"), [("8589934592", 8 << 30), ("unlimited", None)])
def test_the_limit_of_the_address_space(tmp_path: Path, limit: str, expected: int | None) -> None:
    found = host.address_space(Live(make_root(tmp_path, {"/proc/self/limits": LIMITS.format(limit)}), {}))
    assert (found.value if isinstance(found, Seen) else None) == expected


def test_driver_files_that_an_engine_mounted(tmp_path: Path) -> None:
    table = (
        "overlay / overlay rw 0 0\n"
        "/dev/sda2 /usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05 ext4 ro,nosuid,nodev 0 0\n"
        "/dev/sda2 /usr/bin/nvidia-smi ext4 ro 0 0\n"
        "/dev/sda2 /usr/local/nvidia ext4 ro 0 0\n"
        "tmpfs /dev/shm tmpfs rw,size=65536k 0 0\n"
    )
    assert host.driver_mounts(Live(make_root(tmp_path, {"/proc/mounts": table}), {})) == Seen(
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05", "/usr/local/nvidia"), "/proc/mounts"
    )


# -- packages and services ---------------------------------------------------------------------------------------------

DPKG = """Package: bash
Status: install ok installed
Version: 5.2

Package: libnvidia-compute-580
Status: install ok half-configured
Priority: optional
Version: 580.95.05-0ubuntu1
Description: NVIDIA libcompute package
 Package: nvidia-not-a-field

Package: nvidia-driver-570
Status: deinstall ok config-files
Version: 570.133.20-0ubuntu1

Package: cuda-compat-12-9
Status: install ok installed
Version: 575.57.08-1

Package: cuda-nvcc-12-9
Status: install ok installed
Version: 12.9.86-1
"""


def test_packages_of_dpkg_with_their_state(tmp_path: Path) -> None:
    assert system_packages.system_packages(root(tmp_path, {"/var/lib/dpkg/status": DPKG})) == Seen(
        (
            SystemPackage("cuda-compat-12-9", "575.57.08-1", "installed"),
            SystemPackage("libnvidia-compute-580", "580.95.05-0ubuntu1", "half-configured"),
        ),
        "/var/lib/dpkg/status",
    )


def test_packages_of_pacman(tmp_path: Path) -> None:
    folder = "/var/lib/pacman/local"
    files: dict[str, str | bytes] = {
        f"{folder}/nvidia-utils-580.95.05-1/desc": "",
        f"{folder}/nvidia-open-580.95.05-3/desc": "",
        f"{folder}/gcc-15.2.1-1/desc": "",
    }
    assert system_packages.system_packages(root(tmp_path, files)) == Seen(
        (
            SystemPackage("nvidia-open", "580.95.05-3", "installed"),
            SystemPackage("nvidia-utils", "580.95.05-1", "installed"),
        ),
        folder,
    )


#: Made by RPM 4.20.1, as Rocky Linux 9 and Fedora have it: rpm -i --justdb of five packages without files.
RPM = gzip.decompress((Path(__file__).parent / "rpmdb.sqlite.gz").read_bytes())


@pytest.mark.parametrize("folder", ["/var/lib/rpm", "/usr/lib/sysimage/rpm"])
def test_packages_of_rpm(tmp_path: Path, folder: str) -> None:
    files: dict[str, str | bytes] = {f"{folder}/rpmdb.sqlite": RPM, f"{folder}/rpmdb.sqlite-wal": b""}
    assert system_packages.system_packages(root(tmp_path, files)) == Seen(
        (
            SystemPackage("cuda-compat-12-4", "550.54.15-1.el9", "installed"),
            SystemPackage("nvidia-container-toolkit", "1.18.1-1", "installed"),
            SystemPackage("nvidia-driver-cuda-libs", "3:580.95.05-1.el9", "installed"),
        ),
        f"{folder}/rpmdb.sqlite",
    )


@pytest.mark.parametrize(
    ("files", "detail"),
    [
        ({"/var/lib/rpm/Packages": b"\0" * 12 + b"\x61\x15\x06\0"}, "Berkeley DB, which is not read"),
        ({"/usr/lib/sysimage/rpm/Packages.db": b"RpmP"}, "ndb, which is not read"),
        ({"/var/lib/rpm/rpmdb.sqlite": RPM, "/var/lib/rpm/rpmdb.sqlite-wal": b"x"}, "changes that are still in"),
        ({"/var/lib/rpm/rpmdb.sqlite": RPM[:9000]}, "rpmdb.sqlite: "),
        ({"/var/lib/rpm/rpmdb.sqlite": b"SQLite"}, "file is not a database"),
        ({"/var/lib/rpm/rpmdb.sqlite": b""}, "no such table: Name"),
    ],
)
def test_a_database_of_rpm_that_cannot_be_read_is_not_absent(
    tmp_path: Path, files: dict[str, str | bytes], detail: str
) -> None:
    found = system_packages.system_packages(root(tmp_path, files))
    assert isinstance(found, Unseen) and found.why is Why.UNREADABLE
    assert detail in found.detail


HEADERS = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)"
NAMES = "CREATE TABLE Name (key TEXT, hnum INTEGER)"
ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'nvidia' || i AS key, 1 AS hnum FROM n"
)
COMPUTED = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB AS (zeroblob(900000000)))"


@pytest.mark.parametrize(
    "schema", [(HEADERS, f"CREATE VIEW Name AS {ENDLESS}"), (COMPUTED, NAMES)], ids=["endless view", "computed column"]
)
def test_a_database_that_an_image_made_up_is_refused(tmp_path: Path, schema: tuple[str, ...]) -> None:
    found = rpm.rpm_packages(made_database(tmp_path, *schema), lambda _: True)
    assert isinstance(found, Unseen)
    assert (found.why, found.detail.endswith("are not the two tables that RPM makes")) == (Why.UNREADABLE, True)


def test_a_long_way_through_a_database_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) INSERT INTO Name SELECT 'a', 1 FROM n"
    system = made_database(tmp_path, HEADERS, NAMES, rows, "INSERT INTO Packages VALUES (1, 'no bytes')")
    assert rpm.rpm_packages(system, lambda _: True) == Seen((), "/var/lib/rpm/rpmdb.sqlite")
    monkeypatch.setattr(rpm, "STEP", 1000)
    monkeypatch.setattr(rpm, "MAX_STEPS", 3)
    found = rpm.rpm_packages(system, lambda _: True)
    assert isinstance(found, Unseen)
    assert found.detail.endswith("interrupted")


def made_database(folder: Path, *statements: str) -> Rootfs:
    """A root folder whose database of RPM was made by these statements."""
    place = folder / "root/var/lib/rpm"
    place.mkdir(parents=True)
    with closing(sqlite3.connect(place / "rpmdb.sqlite")) as database, database:
        for statement in statements:
            database.execute(statement)
    return Rootfs(str(folder / "root"))


@pytest.mark.parametrize("header", [b"", b"\0" * 8, b"\xff" * 64, b"\0\0\0\1\0\0\0\4" + b"\0" * 16])
def test_a_damaged_header_of_rpm_is_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        rpm.parse_version(header)


def test_no_database_is_absent(tmp_path: Path) -> None:
    found = system_packages.system_packages(root(tmp_path, {"/etc/os-release": "ID=x"}))
    assert isinstance(found, Unseen) and found.why is Why.ABSENT


def test_a_service_lives_when_the_process_of_its_pid_file_is_its_own(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        **NODE,
        "/usr/bin/nv-fabricmanager": b"",
        "/run/nvidia-fabricmanager/nv-fabricmanager.pid": "4711\n",
        "/proc/4711/comm": "nv-fabricmanage\n",
        "/usr/bin/nvidia-persistenced": b"",
        "/run/nvidia-persistenced/nvidia-persistenced.pid": "4712\n",
        "/proc/4712/comm": "bash\n",
    }
    assert services.services(root(tmp_path, files)) == Seen(
        (
            Service("nvidia-fabricmanager", True, True),
            Service("nvidia-gridd", False, False),
            Service("nvidia-persistenced", True, False),
        ),
        "/run",
    )


def test_the_mps_directory(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {**NODE, "/mps/control": "", "/mps/nvidia-cuda-mps-control.pid": "9\n"}
    found = services.mps(root(tmp_path, files, CUDA_MPS_PIPE_DIRECTORY="/mps"))
    assert found == Seen(Mps("/mps", os.getuid(), True, None, ""), "/mps")
    assert isinstance(services.mps(root(tmp_path, {})), Unseen)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path) -> None:
    (tmp_path / "run" / "mps").mkdir(parents=True)
    (tmp_path / "run").chmod(0o700)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        found = services.mps(Local({"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "run" / "mps")}))
        ok = isinstance(found, Seen) and found.value.blocked == str(tmp_path / "run")
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_mode_of_nvidia_modprobe(tmp_path: Path) -> None:
    system = root(tmp_path, {"/usr/bin/nvidia-modprobe": b""})
    (tmp_path / "usr/bin/nvidia-modprobe").chmod(0o4755)
    assert services.modprobe(system) == Seen(0o4755, "/usr/bin/nvidia-modprobe")


def test_where_variables_say_that_the_toolkit_is(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "/usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.4.1"}}',
        "/opt/cuda/version.json": "{",
    }
    system = root(tmp_path, files, CUDA_HOME="/usr/local/cuda", CUDA_PATH="/usr/local/cuda-11.8", CUDA_ROOT="/opt/cuda")
    assert services.toolkit_homes(system) == (
        ToolkitHome("CUDA_HOME", "/usr/local/cuda", True, "12.4.1"),
        ToolkitHome("CUDA_PATH", "/usr/local/cuda-11.8", False, ""),
        ToolkitHome("CUDA_ROOT", "/opt/cuda", True, ""),
    )


# -- containers, Kubernetes, libraries ---------------------------------------------------------------------------------

K3S = """version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.'nvidia']
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.'nvidia'.options]
  BinaryName = "/usr/bin/nvidia-container-runtime"
# [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.commented]
"""
CDI = """---
cdiVersion: 0.5.0
containerEdits:
  mounts:
  - containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.570.133.20
    hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.570.133.20
kind: nvidia.com/gpu
"""


def test_engines_and_what_they_are_told(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        **NODE,
        "/usr/bin/nvidia-ctk": b"",
        "/usr/bin/nvidia-container-runtime-hook": b"",
        "/usr/local/bin/k3s": b"",
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml": K3S,
        "/etc/crio/crio.conf.d/99-nvidia.conf": '[crio.runtime.runtimes.nvidia-cdi]\nruntime_path = "x"\n',
        "/etc/cdi/nvidia.yaml": CDI,
        "/etc/cdi/other.json": '{"kind": "intel.com/gpu", "x": "/usr/lib/libcuda.so.999.1"}',
        "/usr/lib/x86_64-linux-gnu/libnvidia-container.so.1.17.8": b"",
        "/usr/lib/systemd/system/nvidia-cdi-refresh.service": "",
        "/sys/fs/cgroup/cgroup.controllers": "cpu\n",
    }
    found = runtime.runtime(root(tmp_path, files), Unseen(Why.ABSENT, ()))
    assert isinstance(found, Seen)
    value = found.value
    assert (value.engines, value.handlers, value.cdi_drivers) == (
        ("k3s",),
        ("nvidia", "nvidia-cdi", "runc"),
        ("570.133.20",),
    )
    assert value.settings == (
        "/etc/crio/crio.conf.d/99-nvidia.conf",
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    )
    assert (value.library_version, value.cgroups, value.cdi_refresh) == ("1.17.8", 2, True)
    assert value.hook == "/usr/bin/nvidia-container-runtime-hook"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"/proc/version": "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016\n"}, "gvisor"),
        ({"/proc/version": "Linux version 4.19.0-gvisor #1 SMP\n"}, "gvisor"),
        ({"/proc/version": "Linux 6.12", "/proc/cmdline": "quiet systemd.unit=kata-containers.target\n"}, "kata"),
        ({"/proc/version": "Linux version 4.4.0-210-generic (buildd@lgw01)", "/.dockerenv": ""}, "docker"),
    ],
)
def test_sandboxes_are_told_from_containers(tmp_path: Path, files: dict[str, str | bytes], kind: str) -> None:
    found = host.container(Live(make_root(tmp_path, files), {}))
    assert isinstance(found, Seen) and found.value.kind == kind


def test_a_container_on_a_jetson_is_known_by_the_device_tree(tmp_path: Path) -> None:
    tree = b"nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0"
    assert host.tegra(root(tmp_path, {"/proc/device-tree/compatible": tree})) == Seen(
        "nvidia,tegra234", "/proc/device-tree/compatible"
    )


CHECKPOINT = '{"Data": {"PodDeviceEntries": null, "RegisteredDevices": {"nvidia.com/gpu": ["GPU-1"], "rdma/hca": []}}, "Checksum": 1}'


def test_a_node_of_a_cluster(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "/var/lib/kubelet/device-plugins/kubelet.sock": "",
        "/var/lib/kubelet/device-plugins/nvidia-gpu.sock": "",
        "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint": CHECKPOINT,
        "/var/lib/kubelet/plugins/gpu.nvidia.com/": "",
        "/run/nvidia/validations/driver-ready": "",
        "/run/nvidia/validations/.driver-ctr-ready": "",
    }
    found = kubernetes.kubernetes(root(tmp_path, files))
    assert isinstance(found, Seen)
    value = found.value
    assert (value.kubelet, value.in_pod, value.resources) == (True, False, ("nvidia.com/gpu",))
    assert value.plugins == ("gpu.nvidia.com", "nvidia-gpu.sock")
    assert value.validations is not None and "driver-ready" in value.validations


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Data": 1}', '{"Data": {"RegisteredDevices": 7}}'])
def test_a_checkpoint_that_is_none_names_no_resource(tmp_path: Path, text: str) -> None:
    path = "/var/lib/kubelet/device-plugins"
    assert kubernetes.registered(root(tmp_path, {f"{path}/kubelet_internal_checkpoint": text}), path) == ()


def test_libraries_for_other_processors_and_links_to_nothing(tmp_path: Path) -> None:
    header = b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x03\0\x03\0"
    files: dict[str, str | bytes] = {
        **DEBIAN,
        "/usr/lib/i386-linux-gnu/libcuda.so.580.95.05": header + bytes(2_000_000),
        "/usr/lib/i386-linux-gnu/libcuda.so.1": Link("libcuda.so.580.95.05"),
        "/usr/lib/x86_64-linux-gnu/libcuda.so.1": Link("libcuda.so.535.54.03"),
    }
    system = root(tmp_path, files)
    copies = libraries.driver_copies(system, "libcuda.so.1", libraries.choice(system, "libcuda.so.1"))
    assert [(copy.machine, copy.kind) for copy in copies] == [("i686", "driver")]
    assert libraries.broken_links(system) == ("/usr/lib/x86_64-linux-gnu/libcuda.so.1 -> libcuda.so.535.54.03",)
