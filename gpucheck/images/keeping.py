"""Of which files of a layer the content is kept, and how much of it: what probes and the resolver read, and no more.

A test compares this with what they really read: ``tests/layers/test_equality.py``.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

#: Of a text file; what lists the files of a Python distribution may be longer (torch: 2 MB).
MAX_TEXT: Final = 1 << 20
MAX_LIST: Final = 32 << 20
#: C libraries and dynamic linkers are searched as a whole.
MAX_LINKER: Final = 8 << 20
#: The start of a program that is no ELF file, a script mostly: what ``Window`` reads first.
HEAD: Final = 1 << 14
#: Of all texts of one layer; after that they are only names.
MAX_TEXTS: Final = 256 << 20

_TEXTS: Final = re.compile(
    r"""
      (?:usr/)?(?:etc|lib)/os-release | etc/(?:alpine-release|debian_version|nv_tegra_release|machine-id)
    | etc/ld\.so\.(?:conf|preload) | (?:.*/)?etc/ld-musl-[^/]*\.path | .*\.conf
    | etc/modprobe\.d/.* | (?:etc|var/run|run)/cdi/.* | (?:etc|usr/share)/(?:nvidia|OpenCL|vulkan|glvnd|egl)[^/]*/.*
    | etc/(?:docker|containerd|nvidia-container-runtime)/[^/]* | (?:usr/)?lib/modules/[^/]*/modules\.[a-z.]*
    | usr/local/cuda[^/]*/version\.(?:json|txt) | (?:.*/)?cuda[^/]*/version\.(?:json|txt)
    | .*\.dist-info/(?:METADATA|WHEEL|INSTALLER|direct_url\.json|entry_points\.txt|top_level\.txt)
    | .*\.egg-info(?:/PKG-INFO|/top_level\.txt)? | .*/pyvenv\.cfg | .*-packages/[^/]*\.(?:pth|egg-link)
    | .*/conda-meta/[^/]*(?:cuda|cudnn|nccl|torch|tensorflow|jax|onnx|cupy|xgboost|nvidia)[^/]*\.json
    | .*/_?(?:version|build_info|build_and_package_info|cuda_version|__version__)(?:_info)?\.py
    | .*/triton/(?:backends/nvidia/driver|common/build|runtime/build)\.py
    | etc/.*\.toml | var/lib/dkms/.*/make\.log | var/cache/akmods/.*\.log | lib/apk/db/installed
    """,
    re.VERBOSE,
)
_LISTS: Final = re.compile(
    r".*\.dist-info/RECORD|etc/ld\.so\.cache|var/lib/dpkg/status(?:\.d/[^/]*)?|(?:var/lib|usr/lib/sysimage)/rpm/rpmdb\.sqlite"
)
_LINKERS: Final = re.compile(
    r"(?:.*/)?(?:ld-linux[^/]*|ld-musl[^/]*|ld-[\d.]+\.so|ld64?\.so[^/]*|libc\.so\.6|libc-[\d.]+\.so)"
)
_PROGRAMS: Final = re.compile(r"(?:.*/)?s?bin/[^/]*|.*\.so(?:\.[\d.]*)?")


def kept_bytes(path: str) -> int:
    """How much of a file, by its path without the leading slash, is kept from its start, ELF or not."""
    name = path.rpartition("/")[2]
    if _LISTS.fullmatch(path):
        return MAX_LIST
    if _LINKERS.fullmatch(path):
        return MAX_LINKER
    if _TEXTS.fullmatch(path) or name in _sources():
        return MAX_TEXT
    return HEAD if _PROGRAMS.fullmatch(path) else 0


@cache
def _sources() -> frozenset[str]:
    """Files of Python packages whose text a row asks for."""
    from gpucheck.kb.imports import rows

    return frozenset(row.file.rpartition("/")[2] for row in rows() if row.text and row.file)


@cache
def searched_words(name: str) -> tuple[bytes, ...]:
    """What the data of a library of this file name is searched for, which is too much to be kept."""
    from fnmatch import fnmatchcase

    from gpucheck.elf.dlopens import rows

    words = {"libtorch_python.so": [b"sm_"], "ptxas": [b"release "], "ptxas-blackwell": [b"release "]}.get(name, [])
    words += [
        row.opens[:-1].encode()
        for row in rows()
        if row.opens.endswith("*") and fnmatchcase(name, row.opener.rpartition("/")[2])
    ]
    return tuple(dict.fromkeys(words))
