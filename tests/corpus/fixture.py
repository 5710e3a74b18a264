"""A fixture as its TOML file says it: read strictly, so that a misspelt key is an error and not a silence."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpucheck.fakedriver import tables

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent


def load(path: Path) -> Mapping[str, Any]:
    """A TOML file."""
    found: Mapping[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    return found


SYSTEMS = load(FOLDER / "stock/systems.toml")


@dataclass(frozen=True)
class NodeState:
    """A device node."""

    number: tuple[int, int] = (195, 0)
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    open: str | None = None
    """What opening it gives ('' works, else the errno's name); None: what mode and owner say."""


@dataclass(frozen=True)
class Expected:
    """What a person who knows the fault would want to be told."""

    root: tuple[str, ...] = ()
    """Rules that name this cause; any of them. Empty: nothing is to be named."""
    says: tuple[str, ...] = ()
    """Patterns that the finding (summary, cause or evidence) must contain: the cause in so many words."""
    fix: tuple[str, ...] = ()
    """Patterns that the remedy must contain."""
    warnings: Mapping[str, str] = field(default_factory=dict)
    """Rules that may warn of this system, and why its user would agree."""


@dataclass(frozen=True)
class Fixture:
    """A world and what is to be said of it."""

    id: str
    title: str
    source: str
    expect: Expected
    seen: str = ""
    """Where the evidence was seen, or what makes the system known to be good."""
    layer: str = ""
    miss: str = ""
    """Why gpucheck does not name it, where it does not."""
    kind: str = "machine"
    """``machine``: live; ``files``: the root of a machine that is not running; ``image``; ``project``; ``snapshot``."""
    system: str = "ubuntu-24"
    kernel: str = ""
    uid: int = 1000
    groups: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()
    """``H100:8``: names of the fake driver."""
    driver: str = ""
    """Its version; '' none."""
    loaded: bool = True
    """Its kernel module is running."""
    flavour: str = "open"
    driver_at: str = ""
    """Where its libraries are, when not where the system's packages put them."""
    container: str = ""
    """``docker``, ``podman``, ``kubernetes``, ``lxc``, ``singularity``."""
    cuda_image: str = ""
    """The CUDA version of the NVIDIA image that it is built on."""
    toolkits: tuple[str, ...] = ()
    prefix: str = "/opt/venv"
    python: str = "3.12"
    packages: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    """Patterns of files below site-packages that these wheels do not have."""
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    elf: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    """``"/to" = "/from"``: files that are there once more."""
    remove: tuple[str, ...] = ()
    """Paths and patterns that are not there after all."""
    nodes: Mapping[str, NodeState] = field(default_factory=dict)
    pci: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    """Folders that this user may not enter."""
    dmesg: tuple[str, ...] | None = None
    script: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)
    """``cuda``, ``nvml``: the file that is loaded, or the linker's words why none is; default: what gpucheck.elf finds."""
    ldconfig: str = "run"
    """``run``; ``stale``: before the patches; ``none``."""
    runtimes: Mapping[str, str] = field(default_factory=dict)
    snapshot: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stock(self) -> Mapping[str, Any]:
        """The system's row."""
        return SYSTEMS[self.system]  # type: ignore[no-any-return]

    @property
    def machine(self) -> str:
        """As ``uname -m``."""
        return str(self.stock.get("machine", "x86_64"))

    @property
    def glibc(self) -> str:
        """The version of the C library; '' with musl."""
        return str(self.stock.get("glibc", ""))

    @property
    def driver_named(self) -> str:
        """The version in the script."""
        found = re.search(r"^driver\s*=\s*(\S+)", self.script, re.MULTILINE)
        return found[1] if found else "580.95.05"


def models() -> Mapping[str, tables.Model]:
    """The fake driver's GPUs by name."""
    return {model.key: model for model in tables.models()}


def parse_gpus(gpus: tuple[str, ...]) -> tuple[tables.Model, ...]:
    """One for each GPU: ``H100:8`` are eight."""
    known = models()
    return tuple(
        known[name] for text in gpus for name, _, count in [text.partition(":")] for _ in range(int(count or 1))
    )


def read(path: Path) -> Fixture:
    """A fixture of a file."""
    return parse(path.stem, load(path))


def parse(id: str, data: Mapping[str, Any]) -> Fixture:
    """A fixture; its ``script`` is what the fake driver is told, made from its GPUs and driver and its own lines."""
    values: dict[str, Any] = {name: _tuples(value) for name, value in data.items()}
    unknown = set(values) - set(Fixture.__dataclass_fields__)
    if unknown:
        raise ValueError(f"{id}: unknown keys {', '.join(sorted(unknown))}")
    expect = {
        name: (value,) if isinstance(value, str) and name != "warnings" else value
        for name, value in values.get("expect", {}).items()
    }
    values["expect"] = Expected(**{name: _tuples(value) for name, value in expect.items()})
    script = [f"gpu = {name}" for name in values.get("gpus", ())] or ["gpu = none"]
    script += [f"driver = {values['driver']}"] if values.get("driver") else []
    if values.get("driver") and not values.get("loaded", True):
        # Measured with real drivers where no module is loaded: tests/real.
        script += ["nvmlInit = 9", "cuInit = 100"]
    values["script"] = "\n".join((*script, values.get("script", "").strip(), ""))
    values["nodes"] = {path: NodeState(**_tuples(state)) for path, state in values.get("nodes", {}).items()}
    return Fixture(id=id, **values)


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict):
        return {name: _tuples(each) for name, each in value.items()}
    return value
