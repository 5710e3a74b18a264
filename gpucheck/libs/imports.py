"""What importing a Python distribution loads: its extension modules, and what its code is known to preload."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from gpucheck.elf.closure import Closure, Opened, opened_by_rows, summarize
from gpucheck.elf.dlopens import follow
from gpucheck.elf.resolution import Resolution
from gpucheck.facts import Seen
from gpucheck.kb.imports import Import, parts, rows
from gpucheck.libs.interpreter import Interpreter
from gpucheck.libs.targets import Installed, find_distribution
from gpucheck.probes.python import parse_torch_version
from gpucheck.probes.text import read_text
from gpucheck.record import dataclass, replace
from gpucheck.system import System


def import_closure(system: System, target: Installed, interpreter: Interpreter, *, symbols: bool = False) -> Closure:
    """What importing a distribution, and using it, loads into a Python process."""
    process = interpreter.process
    together = belonging(system, target)
    opened: list[Opened] = []
    for each in together:
        opened += _preload(system, each, interpreter, first=True)
    modules = [module for each in together for module in _modules(each)]
    # A module that cannot be loaded yet is imported only when it is used, after what is opened for it then.
    later = [
        module
        for module in modules
        if not module.when.startswith("import") or process.would_open(module.path, interpreter.caller).fatal
    ]
    for module in modules:
        if module not in later:
            opened.append(module.opened(process.dlopen(module.path, interpreter.caller)))
    for each in together:
        opened += _preload(system, each, interpreter, first=False)
    opened += (module.opened(process.dlopen(module.path, interpreter.caller)) for module in later)
    followed = follow(process)
    opened += opened_by_rows(followed)
    name = f"{target.name} {target.version}".rstrip() + f", imported by {interpreter.path or 'a program of its own'}"
    return summarize(process, name, opened, followed.unread, symbols=symbols)


def belonging(system: System, target: Installed) -> tuple[Installed, ...]:
    """A distribution, and those whose extension modules its import uses."""
    names = tuple(each for row in parts() if row.distribution == target.name for each in row.parts)
    found = (find_distribution(system, name, (target.environment,)) for name in names)
    return (target, *(each for each in found if each))


def _preload(system: System, target: Installed, interpreter: Interpreter, *, first: bool) -> Iterator[Opened]:
    """What the rows say, in their order. ``first``: what is opened in the course of the import, else what is later."""
    outcomes: list[Resolution] = []
    for row in rows():
        if (
            not fnmatchcase(target.name, row.distribution)
            or row.by != "ctypes"
            or row.when.startswith("import") != first
        ):
            continue
        if row.text and row.text not in _text(system, f"{target.location}/{row.file}"):
            continue
        if row.failed and not any(each.soname.endswith(f"/{row.failed}") and _lost(each) for each in outcomes):
            continue
        objects = interpreter.process.objects
        if row.mapped and not any(row.mapped in item.path for item in objects):
            continue
        for file in row.opens:
            names = tuple(_names(system, target, row, file))
            for name in names:
                outcome = interpreter.process.dlopen(name, interpreter.ctypes())
                outcomes.append(outcome)
                yield Opened(outcome, row.when, row.required and name == names[-1], row.reference)
                if not _lost(outcome):
                    break


def _names(system: System, target: Installed, row: Import, file: str) -> Iterator[str]:
    """What is opened for a file of a row: the first file that is there, else its names."""
    component, slash, name = file.rpartition("/")
    if not slash:
        yield file
        return
    for folder in row.folders or ("{component}",):
        if "{cuda}" in folder:
            folder = folder.replace("{cuda}", _cuda(system, target))
        if folder.startswith("$"):
            variable, _, below = folder[1:].partition("/")
            base = f"{system.env.get(variable, '')}/{below}"
            if not base.startswith("/") or base.startswith("//"):
                continue
            found = system.glob(f"{base}/{name}")
        else:
            below = folder.replace("{component}", component)
            found = next(
                (hit for location in target.environment.packages if (hit := system.glob(f"{location}/{below}/{name}"))),
                (),
            )
        if found:
            yield found[0]
            return
    if not row.names and row.required:
        yield f"{target.location}/{component}/{name}"
    yield from row.names


@dataclass(frozen=True, slots=True)
class Module:
    """An extension module, and when it is imported."""

    path: str
    when: str
    required: bool
    source: str

    def opened(self, resolution: Resolution) -> Opened:
        """The record of its import."""
        return Opened(resolution, self.when, self.required, self.source)


def _modules(target: Installed) -> Iterator[Module]:
    """Extension modules: those at the top first, as a package's own are loaded before those of its parts."""
    paths = [each for each in target.libraries if is_module(each, target)]
    if not paths:
        # None is for this Python, so that the import fails; what they would load is of interest all the same.
        anywhere = replace(target, environment=replace(target.environment, version=""))
        paths = [each for each in target.libraries if is_module(each, anywhere)]
    known = [row for row in rows() if row.by == "import" and fnmatchcase(target.name, row.distribution)]
    for path in sorted(paths, key=lambda path: (path.count("/"), path)):
        below = path[len(target.location) + 1 :]
        row = next((row for row in known if any(fnmatchcase(below, pattern) for pattern in row.opens)), None)
        if row:
            yield Module(path, row.when, row.required, row.reference)
        else:
            yield Module(path, f"import {module_name(below)}", True, target.source)


def is_module(path: str, target: Installed) -> bool:
    """Whether the interpreter imports a file as an extension module.

    Its suffixes are .cpython-311-x86_64-linux-gnu.so, .abi3.so and .so (importlib.machinery.EXTENSION_SUFFIXES). What
    starts with lib is taken for a library, unless a row says otherwise.
    """
    name = path.rsplit("/", 1)[-1]
    match = re.fullmatch(r"[A-Za-z_]\w*(\.cpython-3(\d+)[a-z]*-[\w-]+|\.abi3)?\.so", name)
    if not match or re.search(r"\.libs/", path[len(target.location) :]):
        return False
    if match[2]:
        version = target.environment.version
        return not version or version == f"3.{match[2]}"
    if match[1] or not name.startswith("lib"):
        return True
    below = path[len(target.location) + 1 :]
    return any(row.by == "import" and below in row.opens for row in rows())


def module_name(below: str) -> str:
    """``torch._C`` for torch/_C.cpython-311-x86_64-linux-gnu.so."""
    folder, _, name = below.rpartition("/")
    return ".".join([*folder.split("/"), name.partition(".")[0]] if folder else [name.partition(".")[0]])


def _text(system: System, path: str) -> str:
    found = read_text(system, path)
    return found.value if isinstance(found, Seen) else ""


def _cuda(system: System, target: Installed) -> str:
    """The CUDA major in PACKAGE/version.py; '' matches nothing."""
    _, cuda = parse_torch_version(_text(system, f"{target.location}/{target.name}/version.py"))
    return (cuda or "").partition(".")[0]


def _lost(resolution: Resolution) -> bool:
    return resolution.path is None or resolution.fatal is not None
