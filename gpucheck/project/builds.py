"""Which build of a library a project gets on Linux x86-64: for which CUDA, and what says so."""

from __future__ import annotations

import re

from gpucheck.facts import Dockerfile, Install, Lock, Locked, Project, Requirement, Seen
from gpucheck.kb import frameworks
from gpucheck.markers import holds, satisfies
from gpucheck.project.requirements import index_tag
from gpucheck.record import dataclass
from gpucheck.versions import CudaVersion


@dataclass(frozen=True, slots=True)
class Build:
    """A library as a project gets it."""

    library: str
    """What is imported, more or less: ``torch``, ``tensorflow``, ``jax``, ``xgboost``, ``onnxruntime``, ``cupy``."""
    distribution: str
    version: str
    """'' when that is decided at installation."""
    gpu: bool | None
    """Built for NVIDIA GPUs; None when that cannot be told."""
    cuda_major: int | None
    cuda: CudaVersion | None
    bundled: bool
    """CUDA's libraries come with it as wheels."""
    index: str
    """The index's URL; '' for PyPI."""
    because: str
    """What tells the build."""
    source: str
    direct: bool
    """Somebody asked for it, it is not only a dependency of something else."""
    extra: str = ""
    """The extra that a library lacks to use a GPU: ``and-cuda``; '' when it lacks none."""

    @property
    def title(self) -> str:
        """``torch 2.15.0 (CUDA 13.2)``."""
        return f"{self.distribution} {self.version}".strip() + f" ({self.kind})"

    @property
    def kind(self) -> str:
        """``CUDA 13.2``, ``CPU build`` or ``build unknown``."""
        if self.gpu is None:
            return "build unknown"
        if not self.gpu:
            return "CPU build"
        known = self.cuda or self.cuda_major
        return f"CUDA {known}" if known else "CUDA, version unknown"


#: Distributions that are judged, by what they are.
LIBRARIES = {
    "torch": "torch",
    "tensorflow": "tensorflow",
    "tensorflow-cpu": "tensorflow",
    "jax": "jax",
    "xgboost": "xgboost",
    "xgboost-cpu": "xgboost",
    "xgboost-cu12": "xgboost",
    "onnxruntime": "onnxruntime",
    "onnxruntime-gpu": "onnxruntime",
    "cupy-cuda11x": "cupy",
    "cupy-cuda12x": "cupy",
    "cupy-cuda13x": "cupy",
}
PYPI = r"https?://(?:[\w.-]*\.)?(?:pypi\.org|pypi\.python\.org|files\.pythonhosted\.org)(?:/|$)"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one library in one place, from a lock or a requirement."""

    distribution: str
    version: str
    specifier: str
    extras: tuple[str, ...]
    index: str
    alternatives: tuple[str, ...]
    needs: dict[str, str]
    """nvidia-* and plugins by name; complete only if ``locked``."""
    locked: bool
    source: str
    direct: bool


def tag_cuda(tag: str) -> CudaVersion | None:
    """cu126 is CUDA 12.6, cu92 is 9.2."""
    match = re.fullmatch(r"cu(\d{1,2})(\d)", tag)
    return CudaVersion(int(match[1]), int(match[2])) if match else None


def builds(project: Project, dockerfile: Dockerfile | None = None, python: str = "") -> tuple[Build, ...]:
    """The libraries that an image gets, or without a Dockerfile the project itself; several of one library are alternatives.

    A lock comes before requirements, and what a Dockerfile installs by name before both. ``python``: of the image.
    """
    installs = dockerfile.installs if dockerfile else ()
    named: dict[str, list[Build]] = {}
    for requirement in (requirement for install in installs for requirement in install.requirements):
        _add(named, _of_requirement(requirement))
    locked: dict[str, list[Build]] = {}
    if isinstance(project.lock, Seen) and _installs_lock(project.lock.value, installs):
        for package in _packages(project.lock.value, installs, python):
            _add(locked, locked_build(package, project.lock.value, project))
    written: dict[str, list[Build]] = {}
    for requirement in requirements(project):
        if _wanted(requirement.group, installs) and holds(requirement.marker, python) is not False:
            _add(written, _of_requirement(requirement))
    found = {**written, **locked, **named}
    return tuple(build for library in sorted(found) for build in found[library])


def requirements(project: Project) -> tuple[Requirement, ...]:
    """All that are written down in the project."""
    pyproject = project.pyproject.value.requirements if isinstance(project.pyproject, Seen) else ()
    files = [file.value for file in project.requirements if isinstance(file, Seen)]
    return (*pyproject, *(requirement for file in files for requirement in file.requirements))


def _add(found: dict[str, list[Build]], build: Build | None) -> None:
    if build is None:
        return
    known = found.setdefault(build.library, [])
    for position, other in enumerate(known):
        if (other.kind, other.distribution, other.extra) == (build.kind, build.distribution, build.extra):
            known[position] = other if other.version else build
            return
    known.append(build)


def shows(dockerfile: Dockerfile) -> bool:
    """Whether a Dockerfile shows what it installs: a script or another tool than uv, pip and Poetry does not."""
    return not _untold(dockerfile.installs)


# -- what is installed -------------------------------------------------------------------------------------------------


def _groups(installs: tuple[Install, ...]) -> set[str]:
    return {group for install in installs for group in install.groups}


def _untold(installs: tuple[Install, ...]) -> bool:
    """Whether no command tells what is installed, neither of the project nor by name."""
    named = any(requirement.name in LIBRARIES for install in installs for requirement in install.requirements)
    return not named and not _groups(installs)


def _wanted(group: str, installs: tuple[Install, ...]) -> bool:
    """Whether a group is installed. Where no command tells: what a plain installation takes."""
    asked = _groups(installs)
    if _untold(installs):
        return group == "dependencies" or group.endswith("requirements.txt")
    if "*" in asked or group in asked or f"{group.split(' ')[0]} *" in asked:
        return True
    # A command names a requirements file by its path in the container: the names are compared.
    files = {wanted.removeprefix("file ").rsplit("/", 1)[-1] for wanted in asked if wanted.startswith("file ")}
    return group.rsplit("/", 1)[-1] in files


def _installs_lock(lock: Lock, installs: tuple[Install, ...]) -> bool:
    """pip knows no uv.lock: where the only commands are pip's, the lock does not matter."""
    if not _groups(installs) or lock.kind not in ("uv.lock", "poetry.lock"):
        return True
    return any(install.command.split(" ")[0] == lock.kind.removesuffix(".lock") for install in installs)


def _packages(lock: Lock, installs: tuple[Install, ...], python: str) -> tuple[Locked, ...]:
    return tuple(
        package
        for package in lock.packages
        if package.name in LIBRARIES
        if not package.groups
        or any(_wanted(group, installs) for group in package.groups)
        or (_untold(installs) and lock.kind in package.groups)
        if not package.markers or any(holds(marker, python) is not False for marker in package.markers)
    )


# -- which build it is -------------------------------------------------------------------------------------------------


def locked_build(package: Locked, lock: Lock, project: Project) -> Build | None:
    """The build of one package of the project's lock; None for a package that is not judged."""
    needs = dict(need.split(" ", 1) for need in package.needs)
    if not needs and lock.kind not in ("uv.lock", "poetry.lock"):
        # A lock without edges: all its packages are installed together.
        needs = {other.name: other.version for other in lock.packages if other.name not in LIBRARIES}
    direct = any(requirement.name == package.name for requirement in requirements(project))
    return _build(Facts(package.name, package.version, "", (), package.index, (), needs, True, package.source, direct))


def _of_requirement(requirement: Requirement) -> Build | None:
    # A variable of a shell that is not known is no version.
    exact = re.fullmatch(r"===?\s*([^*,\s$]+)", requirement.specifier)
    return _build(
        Facts(
            requirement.name,
            exact[1] if exact else "",
            requirement.specifier,
            requirement.extras,
            requirement.index,
            requirement.alternatives,
            {},
            False,
            requirement.source,
            True,
        )
    )


def _build(facts: Facts) -> Build | None:
    library = LIBRARIES.get(facts.distribution)
    if library is None:
        return None
    judge = {"torch": _torch, "tensorflow": _tensorflow, "jax": _jax, "xgboost": _xgboost, "onnxruntime": _onnxruntime}
    return judge.get(library, _cupy)(library, facts)


def _make(
    library: str, facts: Facts, gpu: bool | None, cuda: CudaVersion | int | None, because: str, bundled: bool, extra: str = ""
) -> Build:  # fmt: skip
    return Build(
        library,
        facts.distribution,
        facts.version,
        gpu,
        cuda.major if isinstance(cuda, CudaVersion) else cuda,
        cuda if isinstance(cuda, CudaVersion) else None,
        bundled,
        "" if re.match(PYPI, facts.index) else facts.index,
        because,
        facts.source,
        facts.direct,
        extra,
    )


def _row(facts: Facts) -> tuple[CudaVersion | int | None, str]:
    """From the table: of the exact version, or what all known versions that the specifier allows agree on."""
    known = [
        row
        for row in frameworks.builds(facts.distribution)
        if row.pypi and (row.version == facts.version if facts.version else satisfies(row.version, facts.specifier))
    ]
    cudas = {row.cuda_version or row.cuda_majors for row in known}
    if len(cudas) == 1:
        return known[-1].cuda_version or known[-1].cuda_majors[-1], f"the wheel on PyPI: {known[-1].reference}"
    majors = {row.cuda_majors for row in known}
    if len(majors) == 1:
        return majors.pop()[-1], f"all known versions {facts.specifier} on PyPI; the newest: {known[-1].reference}"
    return None, ""


def _needed_cuda(needs: dict[str, str]) -> tuple[CudaVersion | None, str]:
    """The CUDA runtime among a package's dependencies: nvidia-cuda-runtime-cu12 12.8.90, cuda-toolkit 13.2.2."""
    for name in ("cuda-toolkit", "nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu11"):
        if name in needs and (cuda := CudaVersion.parse(needs[name])):
            return cuda, f"it needs {name} {needs[name]}"
    return None, ""


def _torch(library: str, facts: Facts) -> Build:
    """PyTorch's own indexes hold one build each, named in the URL and in the version's local part; PyPI's is for CUDA."""
    local = facts.version.partition("+")[2]
    tag = local or index_tag(facts.index)
    if not tag and len(facts.alternatives) == 1 and facts.version:
        # Of 2.9.0 and 2.9.0+cu126 pip takes the second, and uv the index that is named.
        tag = index_tag(facts.alternatives[0])
    because = f"the local version +{local}" if local else f"the index {facts.index or ''.join(facts.alternatives[:1])}"
    if tag:
        gpu = False if tag == "cpu" else True if tag.startswith("cu") else None
        return _make(library, facts, gpu, tag_cuda(tag), because, bool(gpu))
    cuda, because = _needed_cuda(facts.needs)
    if cuda:
        return _make(library, facts, True, cuda, because, True)
    if facts.alternatives or (facts.index and not re.match(PYPI, facts.index)):
        return _make(library, facts, None, None, f"nothing is known of the builds on {facts.index or ', '.join(facts.alternatives)}", False)  # fmt: skip
    found, because = _row(facts)
    return _make(library, facts, True, found, because or "PyPI has no CPU build for Linux x86-64", True)


def _tensorflow(library: str, facts: Facts) -> Build:
    """The wheel has GPU code and looks for CUDA's libraries by name; the extra and-cuda brings them."""
    if facts.distribution == "tensorflow-cpu":
        return _make(library, facts, False, None, "tensorflow-cpu", False)
    brings = "and-cuda" in facts.extras or any(name.startswith("nvidia-cudnn") for name in facts.needs)
    cuda, because = _row(facts)
    if cuda is None:
        cuda, because = _needed_cuda(facts.needs)
    return _make(
        library, facts, True, cuda, because or "the wheel on PyPI has GPU code", brings, "" if brings else "and-cuda"
    )


def _jax(library: str, facts: Facts) -> Build:
    """jaxlib is a CPU build; a plugin that the extras cuda12 and cuda13 bring has the GPU code."""
    names = [*facts.needs, *(f"jax-{extra.removesuffix('-local')}-plugin" for extra in facts.extras)]
    for name in sorted(names, reverse=True):
        if match := re.fullmatch(r"jax-cuda(\d+)-plugin", name):
            local = any(extra.endswith("-local") for extra in facts.extras)
            return _make(library, facts, True, int(match[1]), f"it needs {name}", not local)
    return _make(library, facts, False, None, "no jax-cuda*-plugin comes with it", False, "cuda12 or cuda13")


def _xgboost(library: str, facts: Facts) -> Build:
    """CUDA is linked in; NCCL comes as a wheel whose name tells the major."""
    if facts.distribution == "xgboost-cpu":
        return _make(library, facts, False, None, "xgboost-cpu", False)
    for name in sorted(facts.needs):
        if match := re.fullmatch(r"nvidia-nccl-cu(\d+)", name):
            return _make(library, facts, True, int(match[1]), f"it needs {name}", False)
    if facts.distribution == "xgboost-cu12":
        return _make(library, facts, True, 12, "xgboost-cu12", False)
    cuda, because = _row(facts)
    return _make(library, facts, True if cuda else None, cuda, because or "the version is not in the table", False)


def _onnxruntime(library: str, facts: Facts) -> Build:
    """Two distributions; onnxruntime-gpu brings CUDA's libraries only with its extras."""
    if facts.distribution == "onnxruntime":
        return _make(library, facts, False, None, "onnxruntime is the CPU build", False, "onnxruntime-gpu")
    brings = {"cuda", "cudnn"} <= set(facts.extras) or any(name.startswith("nvidia-") for name in facts.needs)
    cuda, because = _row(facts)
    return _make(library, facts, True, cuda, because or "onnxruntime-gpu", brings)


def _cupy(library: str, facts: Facts) -> Build:
    """The CUDA major is in the name; the libraries come with the extra ctk only."""
    major = int(re.sub(r"\D", "", facts.distribution))
    brings = "ctk" in facts.extras or any(name.startswith(("cuda-toolkit", "nvidia-")) for name in facts.needs)
    return _make(library, facts, True, major, "the name tells", brings)
