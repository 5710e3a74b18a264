"""The quick look: whether all that a framework loads has to be followed, or its own wheels are complete and nothing hides them."""

from __future__ import annotations

import re
from typing import Final

from gpucheck import kb
from gpucheck.facts import Framework, Libc, Library, Need, Packages, Seen, Unseen
from gpucheck.markers import release, satisfies
from gpucheck.probes.libraries import folders, names
from gpucheck.system import System

#: Of these all is followed in any case: it takes 30 ms, that of torch 250 ms.
SMALL: Final = ("onnxruntime-gpu", "xgboost", "xgboost-cu12", "ctranslate2", "llama-cpp-python")
#: What wheels are built for since 2024, manylinux_2_28; on an older glibc each of them may be too new.
OLD: Final = (2, 28)
#: Names that a folder on LD_LIBRARY_PATH can replace for everybody, besides the CUDA libraries.
COMMON: Final = ("libstdc++.so", "libgcc_s.so", "libgomp.so")


def suspicion(
    system: System,
    framework: Framework,
    libraries: tuple[Library, ...],
    packages: Seen[Packages] | Unseen,
    libc: Seen[Libc] | Unseen,
) -> str:
    """Why all that a framework loads has to be followed; '' when its own wheels are complete and nothing hides them."""
    for variable in ("LD_LIBRARY_PATH", "LD_PRELOAD"):
        if variable == "LD_PRELOAD" and system.env.get(variable):
            return "LD_PRELOAD is set"
        for folder in folders(system, variable):
            hiding = next((name for name in names(system, folder) if is_known(name)), "")
            if hiding:
                return f"{variable} leads to {hiding} in {folder}"
    beside = next((each for each in libraries if each.kind == "toolkit" and each.soname.startswith("libcudnn")), None)
    if beside:
        # cuDNN opens its parts by name: one that the wheel lacks comes from there (pytorch#188892).
        return f"there is another cuDNN: {beside.path}"
    if isinstance(libc, Seen) and libc.value.kind == "glibc" and () < release(libc.value.version) < OLD:
        return f"glibc is {libc.value.version}"
    if framework.name in SMALL:
        return "it is small"
    if isinstance(packages, Unseen):
        return "its packages were not seen"
    needs = own_needs(packages.value, framework)
    if not any(need.name.startswith(("nvidia-", "cuda-toolkit")) for need in needs):
        return "no wheel requires its CUDA libraries"
    lost = next((each for each in packages.value.lost if each.location == framework.location), None)
    if lost:
        return f"{lost.owner} has no {lost.file}"
    overlap = next((each for each in packages.value.overlaps if each.location == framework.location), None)
    if overlap:
        return f"{' and '.join(overlap.owners)} own the same files"
    for need in needs:
        if not need.version:
            return f"{need.name} is not installed"
        if need.extra and need.name == "cuda-toolkit":
            # It has no library itself, and its own extras, which bring them, are written down nowhere once it is installed.
            return f"which parts of {need.name} [{need.extra}] asks for is not known"
        if need.specifier and satisfies(need.version, need.specifier) is not True:
            return f"{need.name} is {need.version}, not {need.specifier}"
    if not any(each.path.startswith(f"{framework.location}/nvidia/") for each in libraries):
        # Its RPATH leads to the folders beside it, wherever else on sys.path they are.
        return "its CUDA libraries are not beside it"
    return ""


def is_known(name: str) -> bool:
    return name.startswith(COMMON) or any(name.startswith(f"{row.stem}.so") for row in kb.sonames())


#: Distributions whose requirements count as those of a framework.
PARTS: Final = {"jax": r"jax-cuda\d+-(plugin|pjrt)|jaxlib"}


def own_needs(packages: Packages, framework: Framework) -> tuple[Need, ...]:
    """What a framework requires of GPU packages, and what those require. An extra counts as a whole when a part of it is installed."""
    asked = {(need.by, need.location, need.extra) for need in packages.needs if need.version}
    reached = {framework.name}
    if framework.name in PARTS:
        reached |= {wheel.name for wheel in packages.wheels if re.fullmatch(PARTS[framework.name], wheel.name)}
    found: dict[Need, None] = {}
    while True:
        more = [
            need
            for need in packages.needs
            if need.location == framework.location
            and need.by.rsplit(" ", 1)[0] in reached
            and need not in found
            and re.match(r"nvidia-|cuda-toolkit", need.name)
            and (not need.extra or (need.by, need.location, need.extra) in asked)
        ]
        if not more:
            return tuple(found)
        found.update(dict.fromkeys(more))
        reached |= {need.name for need in more}
