"""One look at a project's folder. Files are read, nothing is executed."""

from __future__ import annotations

import time
from typing import Final

from gpucheck import __version__
from gpucheck.facts import SCHEMA, Choice, Host, Kernel, Lock, Project, Pyproject, Seen, Snapshot, Unseen, Why
from gpucheck.project.answers import parse_answers
from gpucheck.project.compose import parse_compose
from gpucheck.project.dockerfile import parse_dockerfile
from gpucheck.project.locks import lock_of, parse_lock
from gpucheck.project.manifests import asks, parse_manifests
from gpucheck.project.pyproject import parse_pyproject
from gpucheck.project.requirements import read_requirements
from gpucheck.project.text import LOCK_LIMIT, read_lines
from gpucheck.system import System

#: Where things are looked for, in the project's folder.
REQUIREMENTS: Final = ("/requirements*.txt", "/requirements/*.txt")
DOCKERFILES: Final = (
    "/Dockerfile", "/Containerfile", "/Dockerfile.*", "/*.Dockerfile", "/docker/Dockerfile*", "/docker/*.Dockerfile",
)  # fmt: skip
COMPOSE: Final = ("/compose*.y*ml", "/docker-compose*.y*ml")
LOCKS: Final = ("uv.lock", "poetry.lock", "pylock.toml")
ANSWERS: Final = "/.copier-answers.yml"
CI: Final = (
    ("GitHub Actions", "/.github/workflows/*.y*ml"),
    ("GitLab CI", "/.gitlab-ci.yml"),
    ("Jenkins", "/Jenkinsfile"),
)
MANIFESTS: Final = ("/*.y*ml", "/k8s/*.y*ml", "/kubernetes/*.y*ml", "/manifests/*.y*ml", "/deploy/*.y*ml")
#: A folder with more is no project.
MANY: Final = 50

FILES_ONLY: Final = Unseen(Why.NOT_APPLICABLE, (), "a project is only files")


def observe_project(system: System, day: str = "") -> Snapshot:
    """The snapshot of a project: the facts of a machine are not applicable. ``day``: the date of the look, today's if ''."""
    return Snapshot(
        schema=SCHEMA,
        tool=__version__,
        host=Host(False, "", FILES_ONLY, FILES_ONLY, FILES_ONLY, False, FILES_ONLY, None, (), FILES_ONLY),
        pci=FILES_ONLY,
        kernel=Kernel(FILES_ONLY, FILES_ONLY, FILES_ONLY, FILES_ONLY, FILES_ONLY, FILES_ONLY),
        nodes=FILES_ONLY,
        nvml=FILES_ONLY,
        cuda=FILES_ONLY,
        libcuda=Choice("libcuda.so.1", None, "a project is only files", ()),
        libcuda_copies=(),
        nvml_copies=(),
        compat=(),
        runtimes=(),
        libraries=(),
        pythons=(),
        frameworks=(),
        distributions=(),
        environment=(),
        container=FILES_ONLY,
        runtime=FILES_ONLY,
        kubernetes=FILES_ONLY,
        project=project(system, day or time.strftime("%Y-%m-%d", time.gmtime())),
    )


def project(system: System, day: str) -> Seen[Project] | Unseen:
    """What the folder holds; ABSENT when it holds neither dependencies nor a Dockerfile."""
    pyproject = _pyproject(system)
    requirements = tuple(read_requirements(system, path) for path in _glob(system, REQUIREMENTS))
    dockerfiles = tuple(
        parse_dockerfile(text) if isinstance(text, Seen) else text
        for path in _glob(system, DOCKERFILES)
        if not path.endswith((".dockerignore", "ignore"))
        for text in (read_lines(system, path),)
    )
    lock = _lock(system)
    if isinstance(lock, Unseen) and lock.why is Why.ABSENT:
        pinned = [file.value for file in requirements if isinstance(file, Seen) and file.value.pinned]
        usual = [file for file in pinned if file.requirements] or pinned
        # One file is a lock; of several it is not known which is installed, they stay requirements.
        if len(usual) == 1:
            lock = Seen[Lock](lock_of(usual[0]), usual[0].path)
    manifests = tuple(
        parse_manifests(text)
        for path in _glob(system, MANIFESTS)
        for text in (read_lines(system, path),)
        if isinstance(text, Seen) and asks(text.value)
    )
    if not (requirements or dockerfiles or manifests) and _absent(pyproject) and _absent(lock):
        tried = ("pyproject.toml", *LOCKS, *(pattern.lstrip("/") for pattern in (*REQUIREMENTS, *DOCKERFILES)))
        return Unseen(Why.ABSENT, tried, "there is neither a pyproject.toml nor a requirements file nor a Dockerfile")
    answers = read_lines(system, ANSWERS)
    return Seen(
        Project(
            day=day,
            pyproject=pyproject,
            requirements=requirements,
            lock=lock,
            dockerfiles=dockerfiles,
            answers=parse_answers(answers) if isinstance(answers, Seen) else answers,
            ci=tuple((name, found[0].lstrip("/")) for name, pattern in CI if (found := system.glob(pattern))),
            compose=tuple(
                parse_compose(text) if isinstance(text, Seen) else text
                for path in _glob(system, COMPOSE)
                for text in (read_lines(system, path),)
            ),
            manifests=manifests,
        ),
        ".",
    )


def _absent(fact: Seen[Pyproject] | Seen[Lock] | Unseen) -> bool:
    return isinstance(fact, Unseen) and fact.why is Why.ABSENT


def _pyproject(system: System) -> Seen[Pyproject] | Unseen:
    text = read_lines(system, "/pyproject.toml")
    return parse_pyproject(text) if isinstance(text, Seen) else text


def _lock(system: System) -> Seen[Lock] | Unseen:
    for kind in LOCKS:
        text = read_lines(system, f"/{kind}", LOCK_LIMIT)
        if isinstance(text, Seen):
            return parse_lock(kind, text)
        if text.why is not Why.ABSENT:
            return text
    return Unseen(Why.ABSENT, LOCKS, "no lock file")


def _glob(system: System, patterns: tuple[str, ...]) -> tuple[str, ...]:
    found = dict.fromkeys(path for pattern in patterns for path in system.glob(pattern))
    return tuple(found)[:MANY]
