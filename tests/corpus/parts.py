"""The parts of a healthy system: its libraries, its kernel and devices, the driver, the container, CUDA toolkits."""

from __future__ import annotations

import struct

from tests.corpus import toolkits
from tests.corpus.elves import LINKERS, Shared, write
from tests.corpus.fixture import Fixture, NodeState, parse_gpus
from tests.roots import Link

GLIBC_VERSIONS = ("2.2.5", "2.3", "2.4", "2.14", *(f"2.{minor}" for minor in range(15, 50)))


class Parts:
    """Collects the files of the system that a fixture names."""

    def __init__(self, fixture: Fixture) -> None:
        self.fixture = fixture
        self.files: dict[str, str | bytes] = {}
        self.nodes: dict[str, NodeState] = {}
        self.heavy: list[str] = []
        self.runtimes: dict[str, str] = {}
        self.libraries = str(fixture.stock["libraries"])
        self.env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        self._system()
        if fixture.kind != "image":
            self._kernel()
        if fixture.driver:
            self._driver()
        self._container()
        for version in fixture.toolkits:
            self._toolkit(version)

    def _system(self) -> None:
        stock, files = self.fixture.stock, self.files
        files["/etc/os-release"] = "".join(f'{name}="{value}"\n' for name, value in stock["release"].items())
        machine = self.fixture.machine
        if stock.get("musl"):
            files["/lib/ld-musl-x86_64.so.1"] = write(Shared("libc.musl-x86_64.so.1", exports=["dlopen"]))
            files["/lib/libc.musl-x86_64.so.1"] = Link("ld-musl-x86_64.so.1")
            files["/etc/alpine-release"] = "3.20.3\n"
            return
        files["/lib64"] = Link("usr/lib64")
        files["/lib"] = Link("usr/lib")
        linker = "/usr" + LINKERS[machine]
        glibc = str(stock["glibc"])
        known = [f"GLIBC_{version}" for version in GLIBC_VERSIONS if _number(version) <= _number(glibc)]
        said = f"GNU C Library (Distribution GLIBC {glibc}) stable release version {glibc}.\n"
        files[linker] = write(Shared(linker.rsplit("/", 1)[-1], defines=["GLIBC_2.2.5", "GLIBC_2.3"], machine=machine))
        files[f"{self.libraries}/libc.so.6"] = write(
            Shared("libc.so.6", [linker.rsplit("/", 1)[-1]], defines=known, constants=said, machine=machine)
        )
        for soname in ("libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1"):
            files[f"{self.libraries}/{soname}"] = write(Shared(soname, ["libc.so.6"], defines=known, machine=machine))
        glibcxx = [
            "GLIBCXX_3.4",
            *(f"GLIBCXX_3.4.{minor}" for minor in range(1, int(stock["glibcxx"]) + 1)),
            "CXXABI_1.3",
        ]
        files[f"{self.libraries}/libstdc++.so.6"] = write(
            Shared("libstdc++.so.6", ["libm.so.6", "libc.so.6", "libgcc_s.so.1"], defines=glibcxx, machine=machine)
        )
        for soname in ("libgcc_s.so.1", "libz.so.1", "libgomp.so.1", "libnuma.so.1", "libOpenCL.so.1"):
            files[f"{self.libraries}/{soname}"] = write(Shared(soname, ["libc.so.6"], machine=machine))
        files["/etc/ld.so.conf"] = "include /etc/ld.so.conf.d/*.conf\n"
        triplet = self.libraries.rsplit("/", 1)[-1]
        if triplet.endswith("-gnu"):
            files[f"/etc/ld.so.conf.d/{triplet}.conf"] = (
                f"/usr/local/lib/{triplet}\n/lib/{triplet}\n/usr/lib/{triplet}\n"
            )
        files["/usr/sbin/ldconfig"] = toolkits.program("ldconfig", machine)
        files["/usr/bin/sh"] = toolkits.program("sh", machine)
        files["/bin"] = Link("usr/bin")
        files["/sbin"] = Link("usr/sbin")
        if stock["packages"] == "dpkg":
            files["/var/lib/dpkg/status"] = f"Package: libc6\nStatus: install ok installed\nVersion: {glibc}-0\n\n"

    def _kernel(self) -> None:
        fixture, files = self.fixture, self.files
        release = fixture.kernel or str(fixture.stock["kernel"])
        files["/proc/version"] = f"Linux version {release} (build@host) (gcc 13.2.0) #1 SMP\n"
        files["/proc/sys/kernel/osrelease"] = f"{release}\n"
        files["/proc/mounts"] = "proc /proc proc rw 0 0\ntmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\n"
        files["/proc/cmdline"] = f"BOOT_IMAGE=/vmlinuz-{release} root=/dev/sda1 ro\n"
        files["/proc/1/cgroup"] = "0::/init.scope\n"
        files["/sys/fs/cgroup/cgroup.controllers"] = "cpuset cpu io memory pids\n"
        files["/sys/bus/pci/devices/0000:00:00.0/vendor"] = "0x8086\n"
        files["/sys/bus/pci/devices/0000:00:00.0/class"] = "0x060000\n"
        self._node("/dev/null", (1, 3))
        modules = "ext4 1011712 2 - Live 0x0\noverlay 212992 0 - Live 0x0\n"
        devices = "Character devices:\n  1 mem\n  5 /dev/tty\n"
        loaded = (
            bool(fixture.driver) and fixture.loaded and not fixture.stock.get("wsl") and not fixture.stock.get("tegra")
        )
        if loaded:
            modules += "nvidia_uvm 4722688 0 - Live 0x0 (OE)\nnvidia_drm 135168 0 - Live 0x0 (OE)\nnvidia_modeset 1814528 1 nvidia_drm, Live 0x0 (OE)\nnvidia 104165376 2 nvidia_uvm,nvidia_modeset, Live 0x0 (OE)\n"
            devices += "195 nvidia\n195 nvidia-modeset\n195 nvidiactl\n236 nvidia-caps\n511 nvidia-uvm\n"
            kind = (
                f"NVIDIA UNIX Open Kernel Module for {fixture.machine}"
                if fixture.flavour == "open"
                else f"NVIDIA UNIX {fixture.machine} Kernel Module"
            )
            files["/proc/driver/nvidia/version"] = (
                f"NVRM version: {kind}  {fixture.driver}  Release Build  (dvs-builder@U22)  Tue Sep 23 10:11:55 UTC 2025\nGCC version:  gcc version 13.2.0\n"
            )
            files["/proc/driver/nvidia/params"] = (
                "ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 438\nPreserveVideoMemoryAllocations: 1\nEnableGpuFirmware: 18\n"
            )
            files["/sys/module/nvidia/version"] = f"{fixture.driver}\n"
            files["/sys/module/nvidia_uvm/parameters/uvm_disable_hmm"] = "N\n"
        files["/proc/modules"] = modules
        files["/proc/devices"] = devices + "\nBlock devices:\n259 blkext\n"
        if fixture.stock.get("tegra"):
            files["/etc/nv_tegra_release"] = f"{fixture.stock['tegra']}\n"
            files["/proc/modules"] = modules + "nvgpu 2650112 21 - Live 0x0\n"
            files["/proc/device-tree/model"] = "NVIDIA Orin Nano Developer Kit\0"
            for name in ("/dev/nvhost-gpu", "/dev/nvhost-ctrl-gpu", "/dev/nvmap"):
                self._node(name, (508, 0))
        elif fixture.stock.get("wsl"):
            if fixture.gpus:
                self._node("/dev/dxg", (10, 127))
        else:
            self._devices(loaded)
        if not fixture.container:
            self._modules(release)

    def _devices(self, loaded: bool) -> None:
        files = self.files
        for index, model in enumerate(parse_gpus(self.fixture.gpus)):
            address = f"0000:{index + 1:02x}:00.0"
            place = f"/sys/bus/pci/devices/{address}"
            files[f"{place}/vendor"] = "0x10de\n"
            files[f"{place}/device"] = f"0x{model.pci:04x}\n"
            files[f"{place}/class"] = "0x030000\n" if model.brand == 5 else "0x030200\n"
            files[f"{place}/config"] = struct.pack("<HH", 0x10DE, model.pci) + bytes(60)
            if loaded:
                files[f"{place}/driver"] = Link("../../../bus/pci/drivers/nvidia")
                files[f"/proc/driver/nvidia/gpus/{address}/information"] = (
                    f"Model: \t\t {model.name}\nIRQ:   \t\t {18 + index}\nGPU UUID: \t GPU-3f0e6f2c-0000-0000-0000-00000000000{index}\n"
                    f"Video BIOS: \t 96.00.74.00.01\nBus Type: \t PCIe\nBus Location: \t {address}\nDevice Minor: \t {index}\nGPU Excluded:\t No\n"
                )
                self._node(f"/dev/nvidia{index}", (195, index))
        if loaded:
            self._node("/dev/nvidiactl", (195, 255))
            self._node("/dev/nvidia-modeset", (195, 254))
            self._node("/dev/nvidia-uvm", (511, 0))
            self._node("/dev/nvidia-uvm-tools", (511, 1))
            for index in range(len(parse_gpus(self.fixture.gpus))):
                files[f"/dev/char/195:{index}"] = Link(f"../nvidia{index}")
            files["/dev/char/195:255"] = Link("../nvidiactl")

    def _modules(self, release: str) -> None:
        tree = f"/usr/lib/modules/{release}" if not self.fixture.stock.get("musl") else f"/lib/modules/{release}"
        self.files[f"{tree}/kernel/drivers/gpu/drm/nouveau/nouveau.ko"] = write(
            Shared(modinfo={"license": "GPL"}, signed=True)
        )
        self.files[f"{tree}/modules.order"] = "kernel/drivers/gpu/drm/nouveau/nouveau.ko\n"
        if self.fixture.driver and not self.fixture.stock.get("wsl") and not self.fixture.stock.get("tegra"):
            license = "Dual MIT/GPL" if self.fixture.flavour == "open" else "NVIDIA"
            folder = f"{tree}/updates/dkms" if self.fixture.stock["packages"] == "dpkg" else f"{tree}/extra"
            for name in ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm"):
                info = {"version": self.fixture.driver, "license": license, "vermagic": f"{release} SMP"}
                self.files[f"{folder}/{name}.ko"] = write(Shared(modinfo=info, signed=True))
            self.files[f"{tree}/build"] = Link(f"/usr/src/linux-headers-{release}")
            self.files[f"/usr/src/linux-headers-{release}/Makefile"] = "# kernel headers\n"

    def _driver(self) -> None:
        """libcuda and its like, nvidia-smi, and the packages that they come in."""
        fixture, version = self.fixture, self.fixture.driver
        at = fixture.driver_at or self.libraries
        if fixture.stock.get("wsl") and not fixture.driver_at:
            # Windows mounts copies, not links: microsoft/WSL#5548. ldconfig knows them by their soname.
            at = "/usr/lib/wsl/lib"
            self.files["/etc/ld.so.conf.d/ld.wsl.conf"] = "/usr/lib/wsl/lib\n"
            for name in ("libcuda.so", "libcuda.so.1", "libcuda.so.1.1"):
                self._library(f"{at}/{name}", "libcuda.so.1")
            self._library(f"{at}/libnvidia-ml.so.1", "libnvidia-ml.so.1")
            self.files[f"{at}/nvidia-smi"] = toolkits.program("nvidia-smi", fixture.machine)
            return
        if fixture.stock.get("tegra"):
            at = f"{self.libraries}/{'tegra' if '35' in fixture.system else 'nvidia'}"
            self.files["/etc/ld.so.conf.d/nvidia-tegra.conf"] = f"{at}\n"
            self._library(f"{at}/libcuda.so.1.1", "libcuda.so.1")
            self.files[f"{at}/libcuda.so.1"] = Link("libcuda.so.1.1")
            self.files[f"{at}/libcuda.so"] = Link("libcuda.so.1.1")
            return
        for stem in ("libcuda.so", "libnvidia-ml.so", "libnvidia-ptxjitcompiler.so", "libnvidia-nvvm.so"):
            name = "libnvidia-nvvm.so.4" if "nvvm" in stem else f"{stem}.1"
            self._library(f"{at}/{stem}.{version}", name)
            self.files[f"{at}/{name}"] = Link(f"{stem}.{version}")
        self.files[f"{at}/libcuda.so"] = Link("libcuda.so.1")
        if fixture.kind != "machine" or not fixture.container or at == self.libraries:
            self.files["/usr/bin/nvidia-smi"] = toolkits.program(
                "nvidia-smi", fixture.machine, needed=("libnvidia-ml.so.1",)
            )
        if not fixture.container:
            self.files["/usr/bin/nvidia-modprobe"] = toolkits.program("nvidia-modprobe", fixture.machine)
            branch = version.split(".")[0]
            if fixture.stock["packages"] == "dpkg":
                for package in (f"libnvidia-compute-{branch}", f"nvidia-utils-{branch}", f"nvidia-dkms-{branch}"):
                    self._package(package, f"{version}-0ubuntu1")
            self.files[f"/lib/firmware/nvidia/{version}/gsp_ga10x.bin".replace("/lib/", "/usr/lib/")] = b"\x7fELF"

    def _library(self, path: str, soname: str) -> None:
        exports = ["cuInit", "cuDriverGetVersion"] if "cuda" in soname else ["nvmlInit_v2"]
        needed = ["libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0"]
        self.files[path] = write(
            Shared(soname, needed, wants={"libc.so.6": ["GLIBC_2.2.5"]}, exports=exports, machine=self.fixture.machine)
        )
        self.heavy.append(path)

    def _package(self, name: str, version: str) -> None:
        known = str(self.files.get("/var/lib/dpkg/status", ""))
        self.files["/var/lib/dpkg/status"] = (
            known + f"Package: {name}\nStatus: install ok installed\nVersion: {version}\n\n"
        )

    def _container(self) -> None:
        kind, files = self.fixture.container, self.files
        if self.fixture.cuda_image:
            version = self.fixture.cuda_image
            self.env |= {
                "NVIDIA_VISIBLE_DEVICES": "all",
                "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
                "CUDA_VERSION": f"{version}.0",
                "NVIDIA_REQUIRE_CUDA": f"cuda>={version}",
                "LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
                "PATH": f"/usr/local/nvidia/bin:/usr/local/cuda/bin:{self.env['PATH']}",
            }
            self._toolkit(version)
        if not kind:
            return
        files.pop("/proc/cmdline", None)
        files["/proc/mounts"] = (
            "overlay / overlay rw 0 0\nproc /proc proc rw 0 0\nshm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k 0 0\n"
        )
        files["/proc/1/cgroup"] = "0::/\n"
        if kind == "docker":
            files["/.dockerenv"] = ""
        elif kind == "podman":
            files["/run/.containerenv"] = 'engine="podman-4.9.3"\n'
        elif kind == "singularity":
            files["/.singularity.d/Singularity"] = "bootstrap: docker\n"
            self.env["SINGULARITY_CONTAINER"] = "/images/it.sif"
            files["/proc/mounts"] = (
                "overlay / overlay ro 0 0\nproc /proc proc rw 0 0\ntmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\n"
            )
        elif kind == "lxc":
            self.env["container"] = "lxc"
            files["/proc/mounts"] = (
                "rpool / zfs rw 0 0\nproc /proc proc rw 0 0\ntmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\n"
            )
        elif kind == "kubernetes":
            self.env["KUBERNETES_SERVICE_HOST"] = "10.96.0.1"
            self.env["KUBERNETES_SERVICE_PORT"] = "443"
            files["/var/run/secrets/kubernetes.io/serviceaccount/namespace"] = "default"
            files["/proc/1/cgroup"] = "0::/\n"
        for path in [path for path in files if path.startswith("/dev/char/")]:
            del files[path]

    def _toolkit(self, version: str) -> None:
        folder = f"/usr/local/cuda-{version}"
        made = toolkits.toolkit(version, folder, self.fixture.machine)
        if self.fixture.cuda_image:  # A runtime image has no compiler and no stubs.
            made = {
                path: content
                for path, content in made.items()
                if not any(part in path for part in ("/bin/", "/stubs/", "/nvvm/", "/include/"))
            }
        self.files.update(made)
        lib = next(path for path in made if "/libcudart.so." in path).rsplit("/", 1)[0]
        self.files[f"{folder}/lib64"] = Link(lib)
        self.files.setdefault("/usr/local/cuda", Link(f"cuda-{version}"))
        major = version.split(".")[0]
        self.files[f"/etc/ld.so.conf.d/988_cuda-{major}.conf"] = (
            f"/usr/local/cuda-{version}/{lib.removeprefix(folder + '/')}\n"
        )
        for path in made:
            if "/libcudart.so" in path:
                self.runtimes[path] = version

    def _node(self, path: str, number: tuple[int, int]) -> None:
        self.files[path] = ""
        self.nodes[path] = NodeState(number)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
