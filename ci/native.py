"""Build gpucheck/native/: the libraries that watch calls, for each architecture, from gpucheck/native/source/ with PyPI's ziglang.

The built files are committed: a wheel, a checkout and gpucheck.pyz must work without a compiler and a network, and they are small.
Each holds a digest of what it was built from, which ``--check`` compares; the same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "gpucheck" / "native" / "source"
BUILT = ROOT / "gpucheck" / "native"

#: ziglang on PyPI. Other versions write other bytes.
ZIG = "0.17.1"
#: The oldest glibc that the libraries are for. They import nothing from it, but its headers are used.
GLIBC = "2.17"
COMPILE = (
    "-O2", "-g0", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fPIC", "-fvisibility=hidden", "-fno-builtin",
    "-fno-stack-protector", "-fno-sanitize=all",
)  # fmt: skip
LINK = ("-shared", "-nostdlib", "-Wl,-z,defs", "-Wl,--strip-all", "-Wl,--build-id=none")
#: The processor's features decide which registers the compiler uses: neither vector nor x87 registers, nor AArch64's x18.
TARGETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "x86_64": (("-mcpu=x86_64-sse-sse2-mmx-x87",), ("calls.c", "x86_64.S")),
    "aarch64": (("-mcpu=generic-neon-fp_armv8+reserve_x18", "-mno-outline-atomics"), ("calls.c", "aarch64.S")),
    "i686": ((), ("nothing.c",)),
}
#: zig's name of an architecture where it is not ours.
NAMES = {"i686": "x86"}


def digest() -> str:
    """Of all that decides the bytes: sources, options, the compiler's version."""
    sum_ = hashlib.sha256(repr((ZIG, GLIBC, COMPILE, LINK, TARGETS)).encode())
    for path in sorted(SOURCES.iterdir()):
        sum_.update(f"\n{path.name}\n".encode() + path.read_bytes())
    return sum_.hexdigest()


def cache() -> Path:
    """Where the compiler lies: outside the repository."""
    chosen = os.environ.get("GPU_CAPABLE_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-capable"


def zig() -> tuple[str, ...]:
    """The compiler's command; installs it at the first need."""
    place = cache() / f"zig-{ZIG}"
    python = place / "bin" / "python"
    cache().mkdir(parents=True, exist_ok=True)
    # Tests run side by side.
    with FileLock(f"{place}.lock"):
        if not (place / "complete").exists():
            uv = (sys.executable, "-m", "uv")
            subprocess.run((*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)), check=True)
            subprocess.run((*uv, "pip", "install", "--quiet", "--python", str(python), f"ziglang=={ZIG}"), check=True)
            (place / "complete").touch()
    return (str(python), "-m", "ziglang", "cc")


def build(folder: Path) -> tuple[Path, ...]:
    """Write a library for each architecture into a folder."""
    compiler = zig()
    env = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(cache() / f"zig-{ZIG}" / "cache")}
    sources = f'-DSOURCES="{digest()}"'
    built: list[Path] = []
    for architecture, (options, files) in TARGETS.items():
        target = ("-target", f"{NAMES.get(architecture, architecture)}-linux-gnu.{GLIBC}")
        with tempfile.TemporaryDirectory() as objects:
            compiled: list[str] = []
            for name in files:
                compiled.append(os.path.join(objects, f"{name}.o"))
                command = (*compiler, *target, *COMPILE, *options, sources, "-c", name, "-o", compiled[-1])
                subprocess.run(command, cwd=SOURCES, env=env, check=True)
            library = folder / f"calls-{architecture}.elf"
            subprocess.run((*compiler, *target, *LINK, *compiled, "-o", str(library)), env=env, check=True)
        library.chmod(0o644)
        built.append(library)
    return tuple(built)


def stale(folder: Path = BUILT) -> tuple[str, ...]:
    """The files that were not built from the sources as they are, each with the reason."""
    found: list[str] = []
    for architecture in TARGETS:
        path = folder / f"calls-{architecture}.elf"
        if not path.exists():
            found.append(f"{path.name} is not there")
        elif f"gpucheck sources: {digest()}".encode() not in path.read_bytes():
            found.append(f"{path.name} was built from other sources")
    return tuple(found)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m ci.native", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="build nothing; fail when a committed file is not of these sources"
    )
    if parser.parse_args().check:
        if found := stale():
            sys.exit("; ".join(found) + "; run: python -m ci.native, and commit the result")
        return
    for path in build(BUILT):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
