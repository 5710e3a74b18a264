"""Real images out of real wheels, built once on a machine: the interpreter and packages are those of the cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

from ci.engine import Engine
from tests.cache import cache, wheel_packages
from tests.needs import missing

BASE = "debian:trixie-slim"
ENVIRONMENT = {
    "VIRTUAL_ENV": "/opt/venv",
    "PATH": "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin",
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
}


class Shop:
    """Builds images, each once: its name tells what went into it, and one that is there is taken."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.place = cache() / "contents"

    def build(self, name: str, dockerfile: Sequence[str], fill: Callable[[Path], None], *, salt: str = "") -> str:
        """The image of a Dockerfile whose context ``fill`` writes into a folder."""
        text = "\n".join(dockerfile) + "\n"
        tag = f"gpu-capable-contents/{name}:{hashlib.sha256((text + salt).encode()).hexdigest()[:12]}"
        self.place.mkdir(parents=True, exist_ok=True)
        with FileLock(self.place / f"{name}.lock"):
            if self.engine.run("image", "inspect", tag).returncode == 0:
                return tag
            context = self.place / f"{name}.{os.getpid()}"
            try:
                context.mkdir()
                fill(context)
                (context / "Dockerfile").write_text(text)
                assert self.engine.build(["--tag", tag, str(context)]) == 0, f"{name} was not built"
            finally:
                shutil.rmtree(context, ignore_errors=True)
        return tag

    def interpreter(self) -> str:
        """Debian with the Python that the cached packages are for, in /usr/local."""
        version = python_version()

        def fill(context: Path) -> None:
            home = Path(os.path.realpath(wheel_packages("xgboost").parents[2] / "bin" / "python3")).parents[1]
            target = context / "python"
            (target / "bin").mkdir(parents=True)
            shutil.copy(home / f"bin/python{version}", target / "bin")
            (target / "bin/python3").symlink_to(f"python{version}")
            left_out = shutil.ignore_patterns(
                "test", "site-packages", "dist-packages", "__pycache__", "config-*", "ensurepip", "idlelib", "tkinter"
            )
            shutil.copytree(
                home / f"lib/python{version}", target / f"lib/python{version}", ignore=left_out, symlinks=True
            )
            for library in (*home.glob(f"lib/libpython{version}.so.*"), _library("libffi.so.8")):
                shutil.copy(library, target / "lib")

        return self.build("python", [f"FROM {BASE}", "COPY python /usr/local", "RUN ldconfig"], fill, salt=version)

    def with_packages(self, name: str, environment: str, keep: str) -> str:
        """An image with a virtual environment of cached packages; ``keep``: which of NVIDIA's distributions."""
        packages = wheel_packages(environment)
        chosen = sorted(entry.name for entry in packages.glob("*.dist-info"))

        def fill(context: Path) -> None:
            make_venv(context / "venv", packages)
            for found in (context / "venv").glob("lib/python3*/site-packages/nvidia_*.dist-info"):
                if not re.fullmatch(keep, found.name.split("-")[0]):
                    remove_distribution(found.parent, found)

        lines = [
            f"FROM {self.interpreter()}",
            "COPY venv /opt/venv",
            "ENV " + " ".join(f"{name}={value}" for name, value in ENVIRONMENT.items()),
            "USER 1000:1000",
            'ENTRYPOINT ["python3"]',
        ]
        return self.build(name, lines, fill, salt=f"{chosen}{keep}")

    def folder(self, name: str) -> Path:
        """The root of such an image, with all packages of an environment by hard links: an engine would store gigabytes twice."""
        root = self.place / f"{name}-root"
        with FileLock(self.place / f"{name}.lock"):
            if not (root / "opt/venv/pyvenv.cfg").exists():
                shutil.rmtree(root, ignore_errors=True)
                root.mkdir()
                self.engine.export(self.interpreter(), str(root))
                make_venv(root / "opt/venv", wheel_packages(name))
        return root


def make_venv(place: Path, packages: Path) -> None:
    """A virtual environment of the image's interpreter with these packages, by hard links."""
    version = python_version()
    (place / "bin").mkdir(parents=True)
    (place / "bin/python3").symlink_to(f"/usr/local/bin/python{version}")
    shutil.copytree(
        packages,
        place / f"lib/python{version}/site-packages",
        copy_function=os.link,
        symlinks=True,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (place / "pyvenv.cfg").write_text(
        f"home = /usr/local/bin\ninclude-system-site-packages = false\nversion = {version}\n"
    )


def remove_distribution(site: Path, info: Path) -> None:
    """What pip uninstall does: the files of RECORD, and it itself."""
    for line in (info / "RECORD").read_text().splitlines():
        (site / line.split(",")[0]).unlink(missing_ok=True)
    shutil.rmtree(info, ignore_errors=True)


def python_version() -> str:
    """Of the interpreter that the packages in the cache are for."""
    return wheel_packages("xgboost").parent.name.removeprefix("python")


def _library(name: str) -> Path:
    """A library of this machine."""
    said = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    found = re.search(rf"^\s*{re.escape(name)} .*=> (\S+)$", said, re.MULTILINE)
    if found is None:
        missing("images with a Python", f"apt-get install what has {name}")
    return (
        Path(found[1]).resolve().with_name(name)
        if Path(found[1]).resolve().with_name(name).exists()
        else Path(found[1])
    )
