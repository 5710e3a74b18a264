"""Build gpucheck.pyz: gpucheck and all that it needs in one file, for any Python 3.10 or newer with nothing installed."""

from __future__ import annotations

import argparse
import importlib.metadata
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: What typer brings only for tracebacks and help in colour, which gpucheck does not use, and an example file.
UNUSED = ("rich*", "pygments*", "markdown_it*", "mdurl*", "example.py")

#: A Python that is too old is told so in one line, in a syntax that it still reads.
MAIN = """\
import sys
if sys.version_info < (3, 10):
    sys.exit("gpucheck needs Python 3.10 or newer; this is %d.%d" % sys.version_info[:2])
from gpucheck.__main__ import main
main()
"""

#: The archive is the same for the same sources: no time of today is in it. The zip format begins in 1980.
STAMP = (1980, 1, 1, 0, 0, 0)


def build(target: Path) -> None:
    """Write the archive to ``target``. Pure Python alone goes in; a compiled dependency is an error."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder)
        requirements = [
            requirement.split(";")[0].strip()
            for requirement in importlib.metadata.requires("gpu-capable") or []
            if "extra ==" not in requirement
        ]
        # tomli is in the standard library only from Python 3.11 on; its wheel for any platform is pure.
        install(stage, *requirements)
        shutil.copytree(
            ROOT / "gpucheck", stage / "gpucheck", ignore=shutil.ignore_patterns("__pycache__", "fakedriver")
        )
        for path in (path for pattern in UNUSED for path in stage.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        compiled = [str(path.relative_to(stage)) for path in stage.rglob("*.so")]
        if compiled:
            sys.exit(f"gpucheck.pyz must run with any Python, but these are compiled: {', '.join(compiled)}")
        (stage / "__main__.py").write_text(MAIN)
        target.parent.mkdir(parents=True, exist_ok=True)
        write(stage, target)


def install(stage: Path, *requirements: str) -> None:
    """Unpack the newest pure wheels of the requirements and what they need."""
    subprocess.run(
        [
            sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(stage), "--python-version", "3.10",
            "--python-platform", "linux", "--only-binary", ":all:", "--no-compile-bytecode", *requirements,
        ],
        check=True,
    )  # fmt: skip


def write(stage: Path, target: Path) -> None:
    """A zip file with a first line that starts Python; entries in order of name."""
    with target.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(stage.rglob("*")):
                name = path.relative_to(stage).as_posix()
                if path.is_file() and "/bin/" not in f"/{name}" and not name.endswith((".pyc", ".lock")):
                    entry = zipfile.ZipInfo(name, STAMP)
                    entry.external_attr = 0o644 << 16
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(entry, path.read_bytes())
    target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    build(parser.parse_args().target)
