"""Root file systems out of a mapping: the smallest that looks to a probe like the real thing."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path


class Link(str):
    """The target of a symbolic link."""

    __slots__ = ()


def make_root(root: Path, files: Mapping[str, str | bytes]) -> str:
    """Write the files below ``root``; a path that ends in / is a folder."""
    for path, content in files.items():
        place = root / path.lstrip("/")
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            place.symlink_to(content)
        elif isinstance(content, bytes):
            place.write_bytes(content)
        else:
            place.write_text(content)
    return str(root)


DEBIAN = {
    "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n',
    "/lib/x86_64-linux-gnu/libc.so.6": b"\x7fELF...GNU C Library (Debian GLIBC 2.41-12) stable release version 2.41.\n",
    "/lib64/ld-linux-x86-64.so.2": b"\x7fELF",
}

#: What the kernel of a machine with one GPU and the open module shows.
NODE = {
    **DEBIAN,
    "/proc/version": "Linux version 6.8.0-40-generic (buildd@lcy02) #40-Ubuntu SMP\n",
    "/proc/sys/kernel/osrelease": "6.8.0-40-generic\n",
    "/proc/modules": "nvidia_uvm 4722688 0 - Live 0x0\nnvidia 56823808 2 nvidia_uvm, Live 0x0\next4 1 1 - Live 0x0\n",
    "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder@U22)  Tue Sep 23 2025\n",
    "/proc/driver/nvidia/params": "ResmanDebugLevel: 4294967295\nDeviceFileMode: 438\n",
    "/proc/devices": "Character devices:\n  1 mem\n195 nvidia\n195 nvidia-modeset\n507 nvidia-uvm\n\nBlock devices:\n259 blkext\n",
    "/sys/module/nvidia_uvm/parameters/uvm_disable_hmm": "N\n",
    "/sys/bus/pci/devices/0000:3b:00.0/vendor": "0x10de\n",
    "/sys/bus/pci/devices/0000:3b:00.0/device": "0x2330\n",
    "/sys/bus/pci/devices/0000:3b:00.0/class": "0x030200\n",
    "/sys/bus/pci/devices/0000:3b:00.0/driver": Link("../../../bus/pci/drivers/nvidia"),
    "/proc/driver/nvidia/gpus/0000:3b:00.0/information": "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 18\nGPU UUID: \t GPU-3f0e6f2c\n",
    "/sys/bus/pci/devices/0000:00:1f.0/vendor": "0x8086\n",
    "/usr/lib/x86_64-linux-gnu/libcuda.so.1": Link("libcuda.so.580.95.05"),
    "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05": b"\x7fELF" + b"\0" * 2_000_000,
    "/usr/lib/x86_64-linux-gnu/libnvidia-ptxjitcompiler.so.1": b"\x7fELF",
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1": Link("libnvidia-ml.so.580.95.05"),
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.95.05": b"\x7fELF" + b"\0" * 2_000_000,
}  # fmt: skip


def elf_with_sections(contents: Mapping[str, bytes]) -> bytes:
    """The smallest shared object with these sections: header, their bytes, names, section headers (elf(5))."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*contents, ".shstrtab"))
    places, data = [], b""
    for name, content in contents.items():
        places.append((names.index(name.encode()), 64 + len(data), len(content)))
        data += content
    headers = [bytes(64)]
    headers += [struct.pack("<IIQQQQIIQQ", at, 1, 2, 0, offset, size, 0, 0, 1, 0) for at, offset, size in places]
    at = 64 + len(data)
    headers.append(struct.pack("<IIQQQQIIQQ", names.index(b".shstrtab"), 3, 0, 0, at, len(names), 0, 0, 1, 0))
    start = b"\x7fELF\x02\x01\x01" + bytes(9)
    fields = (3, 62, 1, 0, 0, at + len(names), 0, 64, 56, 0, 64, len(headers), len(headers) - 1)
    return start + struct.pack("<HHIQQQIHHHHHH", *fields) + data + names + b"".join(headers)


def elf_with_constants(constants: bytes) -> bytes:
    """The smallest shared object with a section .rodata."""
    return elf_with_sections({".rodata": constants})


def loadable(size: int = 0) -> bytes:
    """The smallest shared object that a dynamic linker takes: a segment (PT_LOAD, 1) with an empty dynamic section
    (PT_DYNAMIC, 2) in it; elf(5)."""
    total = max(size, 192)
    header = (
        b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    )
    load = struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, total, total, 0x1000)
    dynamic = struct.pack("<IIQQQQQQ", 2, 6, 176, 176, 176, 16, 16, 8)
    return header + load + dynamic + bytes(total - 176)


SITE = "/usr/local/lib/python3.12/site-packages"

#: torch for CUDA 12.6 with its runtime, as pip installs it.
TORCH = {
    f"{SITE}/torch-2.7.1.dist-info/METADATA": "Name: torch\nVersion: 2.7.1\n",
    f"{SITE}/torch/version.py": "from typing import Optional\n__version__ = '2.7.1+cu126'\ncuda: Optional[str] = '12.6'\n",
    f"{SITE}/torch/lib/libtorch_cuda.so": b"\x7fELF",
    f"{SITE}/torch/lib/libtorch_python.so": elf_with_constants(b"\0sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90\0"),
    f"{SITE}/nvidia_cuda_runtime_cu12-12.6.77.dist-info/METADATA": "Name: nvidia-cuda-runtime-cu12\n",
    f"{SITE}/nvidia/cuda_runtime/lib/libcudart.so.12": b"\x7fELF",
    f"{SITE}/nvidia_cublas_cu12-12.6.4.1.dist-info/METADATA": "Name: nvidia-cublas-cu12\n",
    f"{SITE}/nvidia/cublas/lib/libcublas.so.12": b"\x7fELF",
    f"{SITE}/nvidia/cublas/lib/libcublasLt.so.12": b"\x7fELF",
}
