"""Writes the world of a fixture below a folder: first the healthy system that it names, then what is different about it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tests.corpus import toolkits, wheels
from tests.corpus.elves import Shared, write
from tests.corpus.fixture import Fixture
from tests.corpus.linker_cache import cache_of, soname_of
from tests.corpus.parts import Parts
from tests.corpus.worlds import World
from tests.roots import Link, make_root

#: What drivers' libraries weigh at least; stubs have tens of kilobytes.
WEIGHT = 30 << 20


def build(fixture: Fixture, folder: Path) -> World:
    """The fixture's world below the folder."""
    made = Maker(fixture)
    root = make_root(folder, made.files)
    for path in made.heavy:
        place = folder / path.lstrip("/")
        if place.is_file() and not place.is_symlink():
            with place.open("r+b") as file:
                file.truncate(WEIGHT)
    fixture = made.finished()
    return World(root, fixture, made.env)


class Maker(Parts):
    """Adds the packages and what is different about the world."""

    def __init__(self, fixture: Fixture) -> None:
        super().__init__(fixture)
        self._python()
        if fixture.ldconfig == "stale":
            self._ldconfig()
        self._differences()
        if fixture.ldconfig == "run":
            self._ldconfig()

    def finished(self) -> Fixture:
        """The fixture with the nodes and runtimes that its parts brought."""
        return replace(
            self.fixture,
            nodes={path: state for path, state in {**self.nodes, **self.fixture.nodes}.items() if path in self.files},
            runtimes={**self.runtimes, **self.fixture.runtimes},
            dmesg=self.fixture.dmesg,
        )

    def _python(self) -> None:
        fixture = self.fixture
        if not fixture.packages:
            return
        files, prefix = self.files, fixture.prefix
        packages = f"{prefix}/lib/python{fixture.python}/site-packages"
        if prefix == "/usr/local":
            packages = f"/usr/local/lib/python{fixture.python}/dist-packages"
        if "conda" in prefix or "mamba" in prefix:
            self.env["CONDA_PREFIX"] = prefix
            files[f"{prefix}/conda-meta/history"] = "==> <==\n"
        elif prefix not in ("/usr/local", "/usr"):
            files[f"{prefix}/pyvenv.cfg"] = "home = /usr/bin\ninclude-system-site-packages = false\n"
            self.env["VIRTUAL_ENV"] = prefix
        files[f"/usr/bin/python{fixture.python}"] = (
            toolkits.program("python", fixture.machine) if fixture.glibc else b"\x7fELF"
        )
        # What Triton builds its launchers with.
        files["/usr/bin/gcc"] = toolkits.program("gcc", fixture.machine) if fixture.glibc else b"\x7fELF"
        files[f"/usr/include/python{fixture.python}/Python.h"] = "#include <patchlevel.h>\n"
        files["/usr/bin/python3"] = Link(f"python{fixture.python}")
        if prefix not in ("/usr", "/usr/local"):
            files[f"{prefix}/bin/python3"] = Link(f"/usr/bin/python{fixture.python}")
            files[f"{prefix}/bin/python"] = Link("python3")
            self.env["PATH"] = f"{prefix}/bin:{self.env['PATH']}"
        asked = {name: version for text in fixture.packages for name, _, version in [text.partition("==")]}
        for text in fixture.packages:
            for found in wheels.install(text, packages, fixture.machine, asked, fixture.without, fixture.python):
                files.update(found)
                for path in found:
                    if "/libcudart.so" in path:
                        self.runtimes[path] = found_version(found, packages)

    # -- what is different ---------------------------------------------------------------------------------------------

    def _differences(self) -> None:
        fixture = self.fixture
        for target, source in fixture.copies.items():
            for path in [path for path in self.files if path == source or path.startswith(source + "/")]:
                self.files[target + path.removeprefix(source)] = self.files[path]
                if path in self.runtimes:
                    self.runtimes[target + path.removeprefix(source)] = self.runtimes[path]
        for pattern in fixture.remove:
            for path in [
                path
                for path in self.files
                if path == pattern or path.startswith(pattern.rstrip("/") + "/") or fnmatch.fnmatchcase(path, pattern)
            ]:
                del self.files[path]
        for path, text in fixture.files.items():
            self.files[path] = text
        for path, target in fixture.links.items():
            self.files[path] = Link(target)
        for path, described in fixture.elf.items():
            described = dict(described)
            if described.pop("heavy", False):
                self.heavy.append(path)
            if cuda := described.pop("library", 0):
                self.files[path] = toolkits.library(
                    path.rsplit("/", 1)[-1], int(cuda.split(".")[0]), fixture.machine, toolkit=cuda
                )
                if "/libcudart.so" in path:
                    self.runtimes[path] = cuda
            else:
                self.files[path] = write(Shared(**{"machine": fixture.machine, **described}))
        for path in fixture.nodes:
            self.files[path] = ""
        for address, device in fixture.pci.items():
            for name, value in device.items():
                place = f"/sys/bus/pci/devices/{address}/{name}"
                self.files[place] = (
                    Link(f"../../../bus/pci/drivers/{value}")
                    if name == "driver"
                    else bytes.fromhex(value)
                    if name == "config"
                    else f"{value}\n"
                )
        self.env |= fixture.env
        self.env = {name: value for name, value in self.env.items() if value != "(unset)"}

    def _ldconfig(self) -> None:
        """The cache that ldconfig(8) writes: by soname, folders in the order of ld.so.conf, then the default ones."""
        if self.fixture.stock.get("musl"):
            return
        found: dict[tuple[str, str], None] = {}
        for spelled, folder in self._folders():
            for path in sorted(path for path in self.files if path.rsplit("/", 1)[0] == folder and ".so" in path):
                content = self._followed(path)
                soname = soname_of(content) if content else ""
                if not soname:
                    continue
                name = path.rsplit("/", 1)[-1]
                # A link for the compiler is listed under its own name: search_dir in glibc's elf/ldconfig.c.
                development = isinstance(self.files[path], Link) and name.endswith(".so") and soname.startswith(name)
                self.files.setdefault(f"{folder}/{soname}", Link(name))
                found[(name if development else soname, f"{spelled}/{name if development else soname}")] = None
        self.files["/etc/ld.so.cache"] = cache_of(found, self.fixture.machine)

    def _followed(self, path: str) -> bytes | None:
        for _ in range(5):
            content = self.files.get(self._real(path.rsplit("/", 1)[0]) + "/" + path.rsplit("/", 1)[-1])
            if not isinstance(content, Link):
                return content if isinstance(content, bytes) else None
            path = content if content.startswith("/") else f"{path.rsplit('/', 1)[0]}/{content}"
        return None

    def _folders(self) -> Iterator[tuple[str, str]]:
        """(as written, after links), each once."""
        seen: dict[str, str] = {}
        for conf in sorted(
            path for path in self.files if path.startswith("/etc/ld.so.conf.d/") and path.endswith(".conf")
        ):
            for line in str(self.files[conf]).splitlines():
                seen.setdefault(self._real(line.strip().rstrip("/")), line.strip().rstrip("/"))
        for folder in ("/lib64", "/usr/lib64", "/lib", "/usr/lib"):
            seen.setdefault(self._real(folder), folder)
        return iter([(spelled, real) for real, spelled in seen.items()])

    def _real(self, folder: str) -> str:
        if folder.split("/")[1:2] in (["lib"], ["lib64"]) and "/lib" in self.files:
            return "/usr" + folder
        for path, content in self.files.items():
            if isinstance(content, Link) and (folder == path or folder.startswith(path + "/")):
                target = content if content.startswith("/") else f"{path.rsplit('/', 1)[0]}/{content}"
                return self._real(target + folder.removeprefix(path))
        return folder


def found_version(files: Mapping[str, str | bytes], packages: str) -> str:
    """The version of the distribution that the files are of."""
    path = next(path for path in files if path.endswith("/METADATA"))
    return path.removeprefix(packages + "/").split("/")[0].removesuffix(".dist-info").rsplit("-", 1)[-1]
