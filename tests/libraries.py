"""Small driver libraries, compiled on the spot: they copy what a driver that hangs, crashes or lies does to its caller."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.needs import missing

#: cuDriverGetVersion works before cuInit, as libcuda's does (measured with 450 to 555, no GPU).
CUDA = """
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuInit(unsigned flags) { INIT }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { __builtin_strcpy(name, "Fake GPU"); return 0; }
int cuDeviceGetUuid(char *uuid, int device) { for (int i = 0; i < 16; i++) uuid[i] = i; return 0; }
int cuDeviceTotalMem_v2(unsigned long *size, int device) { *size = 1ul << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 9 : 0; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { return RETAIN; }
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
"""


def compile_library(path: Path, source: str, soname: str) -> None:
    """Compile C source into a shared library; where there is no compiler, the test is skipped."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        missing("drivers that hang or crash", "install a C compiler (apt install gcc libc6-dev)")
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-w", f"-Wl,-soname,{soname}", "-x", "c", "-", "-o", str(path)],
        input=source,
        text=True,
        check=True,
    )


def cuda_library(folder: Path, *, init: str = "return 0;", retain: int = 0, version: int = 13000) -> None:
    """A libcuda.so.1 in ``folder`` whose cuInit does what ``init`` says, in C."""
    source = CUDA.replace("VERSION", str(version)).replace("INIT", init).replace("RETAIN", str(retain))
    compile_library(
        folder / "libcuda.so.1",
        "#include <unistd.h>\n#include <stdio.h>\n#include <stdlib.h>\n" + source,
        "libcuda.so.1",
    )
