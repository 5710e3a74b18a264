"""Roots with a Python environment in them, made on the spot."""

from __future__ import annotations

from collections.abc import Mapping

from gpucheck.facts import Python
from gpucheck.libs.targets import Installed, find_target
from gpucheck.probes.python import pythons
from gpucheck.system import Rootfs
from tests.elf.workshop import Root

SITE = "venv/lib/python3.12/site-packages"
HOME = "usr/lib/python3.12/lib-dynload"


def python(root: Root, *, rpath: str | None = None) -> None:
    """An interpreter with a shared libpython, its _ctypes, and a virtual environment of it."""
    root.lib("usr/lib/libpython3.12.so.1.0")
    root.lib(f"{HOME}/_ctypes.cpython-312-x86_64-linux-gnu.so", "libffi.so.8")
    root.lib("usr/lib/libffi.so.8")
    root.program("libpython3.12.so.1.0", path="usr/bin/python3.12", rpath=rpath)
    (root.here / "venv/bin").mkdir(parents=True)
    (root.here / "venv/bin/python3.12").symlink_to("/usr/bin/python3.12")
    (root.here / "venv/bin/python").symlink_to("python3.12")
    (root.here / "venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    (root.here / SITE).mkdir(parents=True)


def distribution(root: Root, name: str, version: str, files: tuple[str, ...]) -> None:
    """The list of files that an installer leaves."""
    folder = root.here / SITE / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def system(root: Root, env: Mapping[str, str] | None = None) -> Rootfs:
    """The root, with the environment on PATH."""
    return Rootfs(str(root.here), {"PATH": "/venv/bin:/usr/bin", **root.environment(), **(env or {})})


def environment(root: Root) -> Python:
    """The virtual environment."""
    (found, *_) = pythons(system(root))
    return found


def installed(root: Root, name: str) -> Installed:
    """A distribution in it."""
    found = find_target(system(root), name, (environment(root),))
    assert isinstance(found, Installed), found
    return found
