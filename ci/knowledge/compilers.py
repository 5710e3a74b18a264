"""What the CUDA compilers on the index know: GPU targets and PTX versions, by running ptxas of their wheels."""

from __future__ import annotations

import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from ci.knowledge.index import NotThere, numbers, release, versions
from ci.knowledge.wheel import archive

#: The wheels with ptxas by CUDA major; there are none for older toolkits than 11.7.
DISTRIBUTIONS = {11: "nvidia-cuda-nvcc-cu11", 12: "nvidia-cuda-nvcc-cu12", 13: "nvidia-cuda-nvcc"}


def distribution(cuda: str) -> str:
    """The wheel of a CUDA version; '' for one that has none."""
    return DISTRIBUTIONS.get(int(cuda.split(".")[0]), "")


def newest(cuda: str) -> str:
    """The newest release of a CUDA minor's compiler. Raises ``NotThere``."""
    there = [version for version in versions(distribution(cuda)) if version.startswith(f"{cuda}.")]
    if not there:
        raise NotThere(f"CUDA {cuda}: no wheel with its compiler")
    return max(there, key=numbers)


@cache
def minors() -> tuple[str, ...]:
    """The CUDA minors that have a compiler on the index, oldest first."""
    found = {".".join(version.split(".")[:2]) for name in DISTRIBUTIONS.values() for version in versions(name)}
    return tuple(sorted(found, key=numbers))


@cache
def ask(cuda: str) -> tuple[frozenset[str], str]:
    """The targets that ptxas of a CUDA minor compiles for, and the newest PTX version that it takes. Raises ``NotThere``."""
    url = release(distribution(cuda), newest(cuda)).url
    name = next((name for name in archive(url).namelist() if name.endswith("/bin/ptxas")), "")
    if not name:
        raise NotThere(f"{url.rsplit('/', 1)[-1]}: no ptxas")
    with tempfile.TemporaryDirectory() as folder:
        ptxas = Path(folder, "ptxas")
        ptxas.write_bytes(archive(url).read(name))
        ptxas.chmod(0o755)
        help = subprocess.run([ptxas, "--help"], capture_output=True, text=True, check=False).stdout
        source = Path(folder, "new.ptx")
        source.write_text(".version 99.9\n.target sm_80\n.address_size 64\n")
        refused = subprocess.run(
            [ptxas, "-arch=sm_80", source, "-o", "/dev/null"], capture_output=True, text=True, check=False
        )
    version = re.search(r"current version is '([\d.]+)'", refused.stderr + refused.stdout)
    return frozenset(re.findall(r"'(sm_\d+[af]?)'", help)), version[1] if version else ""
