"""What a repository declares, locks and builds on: records of the Snapshot."""

from __future__ import annotations

from gpucheck.facts.seen import Seen, Unseen
from gpucheck.record import dataclass


@dataclass(frozen=True, slots=True)
class Requirement:
    """A dependency as somebody wrote it."""

    name: str
    """In its one spelling (PEP 503)."""
    extras: tuple[str, ...]
    specifier: str
    """``>=2.11``; '' for any version."""
    marker: str
    """The condition after the semicolon (PEP 508)."""
    group: str
    """``dependencies``, ``extra NAME``, ``group NAME`` or the path of a requirements file."""
    index: str
    """The URL of the index that its author names for it; '' where none is named."""
    source: str
    """``pyproject.toml:12``."""
    alternatives: tuple[str, ...] = ()
    """Further indexes that may win: pip takes the newest version of all of them."""


@dataclass(frozen=True, slots=True)
class Index:
    """A package index that the project names; its URL is without credentials."""

    name: str
    url: str
    role: str
    """``default`` (instead of PyPI), ``explicit`` (only for packages that name it) or ``extra`` (beside PyPI)."""
    source: str


@dataclass(frozen=True, slots=True)
class Pyproject:
    """What pyproject.toml says of dependencies; of these only the ones that matter here."""

    name: str
    python: Seen[str] | None
    """requires-python."""
    dependencies: int
    """How many there are in all."""
    requirements: tuple[Requirement, ...]
    indexes: tuple[Index, ...]
    torch_backend: Seen[str] | None
    """torch-backend under [tool.uv.pip]."""


@dataclass(frozen=True, slots=True)
class RequirementsFile:
    """A requirements file of pip, with what it includes."""

    path: str
    pinned: bool
    """Every line names an exact version."""
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Locked:
    """A package in a lock file that Linux on x86-64 gets."""

    name: str
    version: str
    index: str
    groups: tuple[str, ...]
    """How it is reached, as in Requirement; empty when the lock file does not tell."""
    needs: tuple[str, ...]
    """The packages among its own dependencies that matter here: ``nvidia-cuda-runtime 13.0.96``."""
    markers: tuple[str, ...]
    """It is for these environments alone, any of them (versions of Python, mostly)."""
    source: str


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file; of its packages only the ones that matter here."""

    kind: str
    """``uv.lock``, ``poetry.lock``, ``pylock.toml``, or the path of a requirements file that pins all."""
    size: int
    """How many packages it has."""
    packages: tuple[Locked, ...]


@dataclass(frozen=True, slots=True)
class Install:
    """A command in a Dockerfile that installs Python packages."""

    command: str
    """``uv sync``, ``pip install``, ..."""
    groups: tuple[str, ...]
    """What it installs of the project, as in Requirement; ``*`` for all of them."""
    requirements: tuple[Requirement, ...]
    """What it installs by name."""
    source: str


@dataclass(frozen=True, slots=True)
class DockerVariable:
    """A variable that a Dockerfile sets for programs in the image."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """The image that a Dockerfile builds when no stage is asked for: its last stage."""

    path: str
    base: str
    """The image that the last stage comes from, through other stages, with the defaults of ARG filled in."""
    unresolved: str
    """Why base cannot be told; '' when it can."""
    source: str
    """The line of FROM (or of the ARG that names the image)."""
    variables: tuple[DockerVariable, ...]
    """Those that matter here."""
    installs: tuple[Install, ...]


@dataclass(frozen=True, slots=True)
class ComposeService:
    """A service of a compose file."""

    name: str
    image: str
    """'' when none is named."""
    dockerfile: str
    """Of its build, in the project's folder; '' when it builds none."""
    asks: bool
    """It asks for a GPU, or refers to something that may."""
    source: str


@dataclass(frozen=True, slots=True)
class Asking:
    """What a container of a pod asks for."""

    container: str
    resource: str
    """``nvidia.com/gpu``."""
    count: int
    role: str
    """``init`` for one that ends before the others start; '' for one that runs beside them."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod in a Kubernetes manifest, or an object that makes pods, and who asks for GPUs in it."""

    kind: str
    name: str
    asking: tuple[Asking, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Compose:
    """A compose file."""

    path: str
    services: tuple[ComposeService, ...]


@dataclass(frozen=True, slots=True)
class Project:
    """A repository, read and never executed. Paths are relative to its folder."""

    day: str
    """When it was looked at, ``2026-11-24``: some images go out of support."""
    pyproject: Seen[Pyproject] | Unseen
    requirements: tuple[Seen[RequirementsFile] | Unseen, ...]
    lock: Seen[Lock] | Unseen
    dockerfiles: tuple[Seen[Dockerfile] | Unseen, ...]
    answers: Seen[tuple[tuple[str, str], ...]] | Unseen
    """What the project's template was told, as far as it matters here, sorted by name."""
    ci: tuple[tuple[str, str], ...]
    """Continuous integration: (name, file)."""
    compose: tuple[Seen[Compose] | Unseen, ...] = ()
    manifests: tuple[Seen[tuple[Workload, ...]] | Unseen, ...] = ()
    """Kubernetes manifests that ask for GPUs, one for each file."""
