"""Whether a repository's library builds, wheel indexes and base images fit each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from gpucheck import __version__, kb
from gpucheck.facts import Dockerfile, Project, Requirement, Seen, Snapshot, Unseen, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.project.builds import LIBRARIES, Build, builds, locked_build, requirements, shows, tag_cuda
from gpucheck.project.images import Image, ours, parse_reference, recognise
from gpucheck.project.requirements import index_tag
from gpucheck.record import replace
from gpucheck.rules.environment import stubs_on_library_path, variable_misspelt
from gpucheck.rules.rule import CannotTell, Layer, rule
from gpucheck.rules.visibility import visible_devices_hides_gpus


def project_of(snapshot: Snapshot) -> Project | None:
    """The project; None when there is none to judge."""
    return snapshot.project.value if isinstance(snapshot.project, Seen) else None


def dockerfiles(project: Project) -> tuple[Dockerfile, ...]:
    """The Dockerfiles that could be read."""
    return tuple(fact.value for fact in project.dockerfiles if isinstance(fact, Seen))


Check = Callable[[Image, Build, tuple[Build, ...]], Complaint | None]


def _each(project: Project, concerns: Callable[[Build], bool], check: Check) -> Iterator[Complaint]:
    """The check on every library in every image. Where several builds of a library may be installed, all must agree.

    Raises ``CannotTell`` when nothing is wrong as far as it is known, and not all is known.
    """
    unknown: list[str] = []
    tried: list[str] = []
    complained = False
    for dockerfile in dockerfiles(project):
        image = recognise(dockerfile.base) if dockerfile.base else None
        everything = builds(project, dockerfile, image.python if image else "")
        found = tuple(filter(concerns, everything))
        if found and image is None:
            unknown.append(
                f"{dockerfile.source}: {dockerfile.unresolved or f'nothing is known of the image {dockerfile.base}'}"
            )
            tried.append(dockerfile.source)
            continue
        for library in dict.fromkeys(build.library for build in found):
            alternatives = [build for build in found if build.library == library]
            results = [_checked(check, image, build, everything, unknown, tried) for build in alternatives if image]
            if any(results) and not shows(dockerfile):
                unknown.append(f"{dockerfile.path} does not show what it installs")
                tried.append(dockerfile.path)
            elif results and all(results):
                complained = True
                yield _at(dockerfile, results[0])
            elif any(results):
                either = " or ".join(build.title for build in alternatives)
                unknown.append(f"which build {dockerfile.path} installs depends on the Python or an extra: {either}")
                tried += [build.source for build in alternatives]
    if unknown and not complained:
        raise CannotTell("; ".join(dict.fromkeys(unknown)), tuple(tried))


def _checked(
    check: Check, image: Image | None, build: Build, found: tuple[Build, ...], unknown: list[str], tried: list[str]
) -> Complaint | None:
    try:
        return check(image, build, found) if image else None
    except CannotTell as reason:
        unknown.append(str(reason))
        tried.extend(reason.tried)
        return None


def _at(dockerfile: Dockerfile, complaint: Complaint | None) -> Complaint:
    assert complaint
    first = Evidence(f"FROM {dockerfile.base}", dockerfile.source)
    return replace(complaint, evidence=(first, *complaint.evidence))


def _evidence(build: Build) -> tuple[Evidence, ...]:
    return (Evidence(f"{build.title}: {build.because}", build.source),)


def _need_build(build: Build) -> None:
    if build.gpu is None:
        raise CannotTell(f"the build of {build.distribution} {build.version}".rstrip() + f" is not known: {build.because}", (build.source,))  # fmt: skip


def _other_gpu(build: Build, found: tuple[Build, ...]) -> bool:
    return any(other.gpu for other in found if other.library != build.library)


def _gpu_build(build: Build, major: int | None) -> str:
    """How to get a GPU build of a library."""
    tag = {11: "cu118", 12: "cu126"}.get(major or 0)
    return {
        "torch": "remove the index for CPU builds from pyproject.toml; PyPI's torch is built for CUDA"
        if tag is None
        else f"take torch from https://download.pytorch.org/whl/{tag}",
        "tensorflow": "depend on tensorflow[and-cuda] instead of tensorflow-cpu",
        "xgboost": "depend on xgboost instead of xgboost-cpu",
    }.get(build.library, f"depend on a GPU build of {build.library}")


def _gpu_images() -> str:
    return " or ".join(f"gpu-capable/{row.name}:{__version__}" for row in ours() if row.gpu)


# -- reading -----------------------------------------------------------------------------------------------------------


@rule(Layer.PROJECT)
def project_unread(snapshot: Snapshot) -> Iterator[Complaint]:
    """The project, or a file of it that decides, could not be read: there is no verdict without it.

    There is nothing to judge in a folder without pyproject.toml, requirements file and Dockerfile. A file that is not what
    its name says (TOML with a mistake in it, a Dockerfile without FROM) hides what the project really installs.

    Confirm: `uv lock --check`, `docker build --check .`
    Remedy: name the project's own folder; correct the file at the line that is given.
    Reference: https://packaging.python.org/en/latest/specifications/pyproject-toml/
    """
    if isinstance(snapshot.project, Unseen):
        if snapshot.project.why is Why.NOT_APPLICABLE:
            return
        raise CannotTell(
            f"{snapshot.project.detail}; looked for {', '.join(snapshot.project.tried)}", snapshot.project.tried
        )
    project = snapshot.project.value
    facts = (project.pyproject, project.lock, project.answers, *project.requirements, *project.dockerfiles)
    broken = [fact for fact in facts if isinstance(fact, Unseen) and fact.why is Why.UNREADABLE]
    if broken:
        raise CannotTell(
            "; ".join(fact.detail for fact in broken), tuple(place for fact in broken for place in fact.tried)
        )
    yield from ()


# -- builds and indexes ------------------------------------------------------------------------------------------------


@rule(Layer.PROJECT)
def wheel_index_contradicts_lock(snapshot: Snapshot) -> Iterator[Complaint]:
    """pyproject.toml asks for one build of torch, the lock file holds another; the lock file wins.

    The index was changed after the lock was written and `uv sync --frozen` does not look. Or the build was asked for with
    torch-backend under [tool.uv.pip], which only `uv pip` reads: `uv lock`, `uv sync` and `uv run` do not.

    Confirm: `uv lock --check`; `grep -A 3 '^name = "torch"' uv.lock`.
    Remedy: `uv lock`; the index in [[tool.uv.index]] with `explicit = true` and [tool.uv.sources].
    Reference: https://docs.astral.sh/uv/guides/integration/pytorch/
    """
    project = project_of(snapshot)
    if project is None or not isinstance(project.lock, Seen) or not isinstance(project.pyproject, Seen):
        return
    pyproject, lock = project.pyproject.value, project.lock.value
    if lock.kind not in ("uv.lock", "poetry.lock"):
        return
    torch = [
        (package, build)
        for package in lock.packages
        if package.name == "torch" and (build := locked_build(package, lock, project))
    ]
    for requirement in pyproject.requirements:
        tag = index_tag(requirement.index) if requirement.name == "torch" else ""
        installed = [build for package, build in torch if not package.groups or requirement.group in package.groups]
        if tag and installed and not any(_is(build, tag) for build in installed):
            yield _contradiction(requirement, tag, installed[0], lock.kind)
    backend = pyproject.torch_backend
    installed = [build for _, build in torch]
    asked = any(requirement.name == "torch" and index_tag(requirement.index) for requirement in pyproject.requirements)
    if backend and lock.kind == "uv.lock" and installed:
        yield from _backend(backend, installed, asked)


def _is(build: Build, tag: str) -> bool:
    """Whether a build is the one that an index's tag names; one that is not known is not held against it."""
    if build.gpu is None or not tag.startswith(("cpu", "cu")):
        return True
    return build.gpu is False if tag == "cpu" else build.gpu and build.cuda in (None, tag_cuda(tag))


def _contradiction(requirement: Requirement, tag: str, build: Build, kind: str) -> Complaint:
    hopeless = build.gpu is False
    return Complaint(
        Severity.ERROR if hopeless else Severity.WARNING,
        f"{kind} holds torch {build.version} ({build.kind}), pyproject.toml asks for {tag}",
        "The lock file was written before the index was changed; what installs from it gets the old build.",
        (
            Evidence(f"torch from {requirement.index}", requirement.source),
            *_evidence(build),
        ),
        "Lock again and commit the result: " + ("uv lock" if kind == "uv.lock" else "poetry lock"),
    )


def _backend(backend: Seen[str], installed: list[Build], asked: bool) -> Iterator[Complaint]:
    """``asked``: an index names the build, which may be meant so; only that ``auto`` does not reach it is worth a word."""
    if asked and (backend.value != "auto" or installed[0].gpu is not False):
        return
    contradicts = not any(_is(build, backend.value) for build in installed) if backend.value != "auto" else False
    build = installed[0]
    hopeless = build.gpu is False and (contradicts or backend.value == "auto")
    if not contradicts and backend.value != "auto":
        return
    tag = backend.value if backend.value != "auto" else "cu126"
    yield Complaint(
        Severity.NOTE if asked else Severity.ERROR if hopeless else Severity.WARNING if contradicts else Severity.NOTE,
        f'torch-backend = "{backend.value}" has no effect on uv.lock: it holds torch {build.version} ({build.kind})',
        "Only `uv pip` reads [tool.uv.pip]; `uv lock`, `uv sync` and `uv run` take torch from the project's indexes.",
        (Evidence(f'torch-backend = "{backend.value}"', backend.source), *_evidence(build)),
        f'Name the index: [[tool.uv.index]] name = "pytorch", url = "https://download.pytorch.org/whl/{tag}", explicit = true; '
        '[tool.uv.sources] torch = { index = "pytorch" }; then uv lock',
    )


@rule(Layer.PROJECT)
def gpu_extra_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """A library is meant for the GPU, and the extra or the package that makes it use one is not asked for.

    `jax` alone is the CPU build; its CUDA plugin comes with `jax[cuda13]` or `jax[cuda12]`. `tensorflow` looks for CUDA's
    libraries and finds none without `tensorflow[and-cuda]`. `onnxruntime` is the CPU build of `onnxruntime-gpu`, which looks
    for CUDA's libraries as `cupy` does. All of them then compute on the CPU, or fail when they are imported.

    Confirm: `grep -E 'jax-cuda|nvidia-cudnn|onnxruntime' uv.lock`.
    Remedy: ask for the extra that the finding names, and lock again.
    Reference: https://docs.jax.dev/en/latest/installation.html, https://www.tensorflow.org/install/pip,
    https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
    """
    project = project_of(snapshot)
    if project is None:
        return

    def check(image: Image, build: Build, found: tuple[Build, ...]) -> Complaint | None:
        if not image.gpu:
            return None
        if build.gpu is False:
            wanted = build.extra
            if build.library == "jax":
                wanted = (
                    f"jax[cuda{image.cuda_major}]" if image.cuda_major in (12, 13) else "jax[cuda13] or jax[cuda12]"
                )
            return Complaint(
                Severity.WARNING if _other_gpu(build, found) else Severity.ERROR,
                f"{build.distribution} is the CPU build and the image is for GPUs",
                "The GPU code comes in a package of its own, and nothing asks for it.",
                _evidence(build),
                f"Depend on {wanted} instead of {build.distribution}, then uv lock",
            )
        if build.bundled or _cuda_wheels(project, build.cuda_major):
            return None
        if image.kind == "cuda":
            if image.cuda is None and build.library == "tensorflow":
                raise CannotTell(f"the tag of {image.reference} names no CUDA version")
            # Another major's libraries: for cupy and onnxruntime-gpu that is build-does-not-fit-image.
            if build.library != "tensorflow" or (image.cuda_major == build.cuda_major and image.flavour != "base"):
                return None
        elif image.kind != "ours":
            return None
        wanted = {
            "tensorflow": "tensorflow[and-cuda]",
            "onnxruntime": "onnxruntime-gpu[cuda,cudnn]",
            "cupy": f"{build.distribution}[ctk]",
        }[build.library]
        needs = f"CUDA {build.cuda_major}" if build.cuda_major else "CUDA"
        return Complaint(
            Severity.ERROR if build.library != "onnxruntime" or not _other_gpu(build, found) else Severity.WARNING,
            f"{build.distribution} will not find the libraries of {needs}: neither the image nor a wheel brings them",
            "It loads them by name when it starts. Without them it computes on the CPU or cannot be imported.",
            _evidence(build),
            f"Depend on {wanted}, then uv lock",
        )

    def concerns(build: Build) -> bool:
        return build.direct and (bool(build.extra) or (build.gpu is True and build.library in ("cupy", "onnxruntime")))

    yield from _each(project, concerns, check)


def _cuda_wheels(project: Project, major: int | None) -> bool:
    """Whether the lock or a requirement brings CUDA's libraries of a major as wheels."""
    names = {requirement.name: requirement.specifier.lstrip("=<>~! ") for requirement in requirements(project)}
    if isinstance(project.lock, Seen):
        names.update({package.name: package.version for package in project.lock.value.packages})
    return (
        f"nvidia-cuda-runtime-cu{major}" in names
        or names.get("nvidia-cuda-runtime", "").startswith(f"{major}.")
        or any(build.bundled and build.gpu and build.cuda_major == major for build in builds(project))
    )


# -- builds and images -------------------------------------------------------------------------------------------------


@rule(Layer.PROJECT, follows=("wheel-index-contradicts-lock",))
def image_cannot_run_build(snapshot: Snapshot) -> Iterator[Complaint]:
    """The base image is not made for the build of a library: a GPU image with a CPU build, or the other way round.

    A CPU build computes on the CPU whatever the image and the node offer. A CUDA build in a CPU image carries gigabytes that
    nothing uses, and the image does not ask for a GPU (NVIDIA_VISIBLE_DEVICES, driver capabilities), so it gets none
    unless it is started with one. On musl (Alpine) neither the CUDA wheels nor the driver's libraries, which are built for
    glibc, can be loaded at all.

    Confirm: compare the FROM line with the library's build in the lock file.
    Remedy: the image for the build, or the build for the image.
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/1526 (musl)
    """
    project = project_of(snapshot)
    if project is None:
        return

    def check(image: Image, build: Build, found: tuple[Build, ...]) -> Complaint | None:
        if image.libc == "musl":
            _need_build(build)
            if not build.gpu:
                return None
            return Complaint(
                Severity.ERROR,
                f"{build.title} cannot run on {image.reference}: the image is built on musl",
                "CUDA wheels and the driver's libraries that the container gets are built for glibc.",
                (*_evidence(build), Evidence(f"{image.reference} is built on musl", image.evidence)),
                f"FROM {_gpu_images()}, or another image with glibc, such as python:{image.python or '3.13'}-slim",
            )
        if image.gpu is None:
            return None
        _need_build(build)
        if image.gpu and build.gpu is False and not build.extra:
            return Complaint(
                Severity.WARNING if _other_gpu(build, found) else Severity.ERROR,
                f"{build.title} cannot use the GPU that {image.reference} is for",
                "The wheel holds no GPU code; no image and no driver can change that.",
                _evidence(build),
                (_gpu_build(build, image.cuda_major)[0].upper() + _gpu_build(build, image.cuda_major)[1:])
                + ", then uv lock; or take an image for the CPU",
            )
        if not image.gpu and build.gpu:
            return Complaint(
                Severity.WARNING,
                f"{build.title} is a GPU build and {image.reference} is for the CPU",
                "The image grows by the CUDA libraries of the wheels and does not ask the container engine for a GPU.",
                (*_evidence(build), Evidence("the image is for the CPU", image.evidence)),
                f"FROM {_gpu_images()}, or a CPU build of {build.library}",
            )
        return None

    # What only comes along with something else was not chosen for the GPU, unless it is what brings CUDA.
    yield from _each(project, lambda build: build.direct or build.gpu is True, check)


@rule(Layer.PROJECT, follows=("wheel-index-contradicts-lock",))
def build_does_not_fit_image(snapshot: Snapshot) -> Iterator[Complaint]:
    """A library is built for another CUDA major than the base image is for, in the way that breaks.

    Our images promise to run from a driver on. Wheels for a newer CUDA major need a newer driver than that: on a node
    that keeps the image's promise they fail with error 35. (Wheels for an older major run: a driver runs every older CUDA.)
    On nvidia/cuda images a library that brings its own CUDA does not care for the image's; one that loads the image's
    libraries by name (cupy, onnxruntime-gpu) finds those of its own major only.

    Confirm: compare the FROM line with the library's build in the lock file.
    Remedy: the image of the build's CUDA major, or a build for the image's.
    Reference: https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
    """
    project = project_of(snapshot)
    if project is None:
        return

    def check(image: Image, build: Build, found: tuple[Build, ...]) -> Complaint | None:
        if not image.gpu or not build.gpu:
            return None
        if image.kind == "ours":
            if build.cuda_major is None:
                raise CannotTell(f"the CUDA version of {build.distribution} {build.version or '(not locked)'} is not known: {build.because}", (build.source,))  # fmt: skip
            family = kb.families().get(build.cuda_major)
            if not family or not image.driver_floor or family.driver_floor <= image.driver_floor:
                return None
            return Complaint(
                Severity.ERROR,
                f"{build.title} needs a newer driver than {image.reference} promises to run on",
                f"The image is for nodes from driver {image.driver_floor} on; CUDA {build.cuda_major} needs {family.driver_floor}. "
                "On the older ones of them every CUDA call fails with error 35.",
                (
                    *_evidence(build),
                    Evidence(f"driver {image.driver_floor} or newer", image.evidence),
                    Evidence(f"CUDA {build.cuda_major} needs driver {family.driver_floor}", family.reference),
                ),
                f"Take a build of {build.library} for CUDA {image.cuda_major}, or an image for CUDA {build.cuda_major}",
            )
        if build.bundled or build.library not in ("cupy", "onnxruntime") or _cuda_wheels(project, build.cuda_major):
            return None
        if image.cuda_major is None or build.cuda_major is None:
            raise CannotTell(f"the CUDA version of {build.title} or of {image.reference} is not known", (build.source,))
        if image.cuda_major == build.cuda_major:
            return None
        return Complaint(
            Severity.ERROR,
            f"{build.title} finds no CUDA {build.cuda_major} in {image.reference}",
            f"It loads CUDA's libraries by name; the image has those of CUDA {image.cuda_major}, whose names are others.",
            _evidence(build),
            f"Take an image nvidia/cuda:{build.cuda_major}.x, or "
            + (
                f"cupy-cuda{image.cuda_major}x"
                if build.library == "cupy"
                else "onnxruntime-gpu[cuda,cudnn], which brings them"
            ),
        )

    yield from _each(project, lambda build: build.gpu is True, check)


@rule(Layer.PROJECT)
def cuda_libraries_doubled(snapshot: Snapshot) -> Iterator[Complaint]:
    """The image holds CUDA's libraries twice: the base image brings them, and the library's wheels do again.

    The wheels of torch, jax[cuda] and tensorflow[and-cuda] bring CUDA, cuDNN and NCCL of their own versions and use these. The
    copies of a runtime or devel image are gigabytes that nothing loads, or worse: what looks along LD_LIBRARY_PATH gets
    them instead, in another version.

    Confirm: `docker run IMAGE sh -c 'find / -xdev -name "libcublasLt.so*" -size +1M'` lists two.
    Remedy: a base image without CUDA's libraries; devel only in a build stage.
    Reference: https://gitlab.com/nvidia/container-images/cuda/-/blob/master/README.md (base, runtime, devel)
    """
    project = project_of(snapshot)
    if project is None:
        return
    for dockerfile in dockerfiles(project):
        image = recognise(dockerfile.base) if dockerfile.base else None
        if image is None or image.kind != "cuda" or image.flavour not in ("runtime", "devel") or not shows(dockerfile):
            continue
        bundled = [build for build in builds(project, dockerfile) if build.bundled and build.gpu]
        if not bundled:
            continue
        base = re.sub(r"-(?:cudnn\d*-|tensorrt-)?(?:runtime|devel)\b", "-base", dockerfile.base).partition("@")[0]
        yield Complaint(
            Severity.WARNING,
            f"{', '.join(build.distribution for build in bundled)} brings its own CUDA libraries, and {dockerfile.base} has them already",
            "The image's copies are gigabytes that the wheels do not use; what searches LD_LIBRARY_PATH can get them instead.",
            (
                Evidence(f"FROM {dockerfile.base}", dockerfile.source),
                *(evidence for build in bundled for evidence in _evidence(build)),
            ),
            f"FROM {_gpu_images()}, or FROM {base}"
            + ("; keep devel for a build stage, if something is compiled" if image.flavour == "devel" else ""),
        )


# -- upkeep ------------------------------------------------------------------------------------------------------------


@rule(Layer.PROJECT)
def lock_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """No lock file: which build of a library is installed is decided anew each time.

    A new release of torch can be built for another CUDA major, and then needs a newer driver than the nodes have.

    Confirm: `ls uv.lock poetry.lock pylock.toml`.
    Remedy: `uv lock`, and commit uv.lock.
    Reference: https://docs.astral.sh/uv/concepts/projects/sync/
    """
    project = project_of(snapshot)
    if project is None or isinstance(project.lock, Seen):
        return
    if project.lock.why is not Why.ABSENT:
        raise CannotTell(project.lock.detail, project.lock.tried)
    if isinstance(project.pyproject, Unseen) and project.pyproject.why is not Why.ABSENT:
        raise CannotTell(project.pyproject.detail, project.pyproject.tried)
    open_ones = [requirement for requirement in requirements(project) if requirement.name in LIBRARIES]
    pinned = [isinstance(file, Seen) and file.value.pinned for file in project.requirements]
    if not open_ones or (pinned and all(pinned)):
        return
    first = open_ones[0]
    yield Complaint(
        Severity.NOTE,
        "No lock file: the build of " + ", ".join(dict.fromkeys(one.name for one in open_ones)) + " is decided at each installation",
        "The newest release that fits is taken, and with it the CUDA version that it is built for.",
        (Evidence(f"{first.name} {first.specifier or '(any version)'}", first.source), Evidence("no lock file", ", ".join(project.lock.tried))),
        "uv lock && git add uv.lock" if isinstance(project.pyproject, Seen) else f"uv pip compile {first.group} -o requirements.txt",
    )  # fmt: skip


@rule(Layer.PROJECT)
def base_image_unpinned(snapshot: Snapshot) -> Iterator[Complaint]:
    """A Dockerfile starts from an image without a version: each build can start from another one.

    Confirm: the FROM line has no tag with a number and no digest.
    Remedy: a version as the tag, or a digest.
    Reference: https://docs.docker.com/build/building/best-practices/#pin-base-image-versions
    """
    project = project_of(snapshot)
    if project is None:
        return
    for dockerfile in dockerfiles(project):
        if dockerfile.base in ("", "scratch") or parse_reference(dockerfile.base).pinned:
            continue
        yield Complaint(
            Severity.NOTE,
            f"{dockerfile.base} names no version: the next build can start from another image",
            "A tag without a number moves.",
            (Evidence(f"FROM {dockerfile.base}", dockerfile.source),),
            "Name a version or a digest; the digest of today: docker buildx imagetools inspect " + dockerfile.base,
        )


@rule(Layer.PROJECT)
def base_image_retired(snapshot: Snapshot) -> Iterator[Complaint]:
    """The base image is past its end of life: its distribution gets no security updates any more.

    Confirm: `gpu-capable.eol` among the image's labels: `docker image inspect IMAGE`.
    Remedy: `copier update`, which brings the images of today; or another image by hand.
    Reference: https://wiki.debian.org/DebianReleases
    """
    project = project_of(snapshot)
    if project is None:
        return
    for dockerfile in dockerfiles(project):
        image = recognise(dockerfile.base) if dockerfile.base else None
        if image and image.eol and image.eol.isoformat() < project.day:
            yield Complaint(
                Severity.WARNING,
                f"{dockerfile.base} is past its end of life ({image.eol})",
                "It gets no security updates, and registries delete such images after a while.",
                (Evidence(f"FROM {dockerfile.base}", dockerfile.source), Evidence(f"end of life {image.eol}", image.evidence)),
                "copier update, or another base image",
            )  # fmt: skip


@rule(Layer.PROJECT)
def compose_asks_for_no_gpu(snapshot: Snapshot) -> Iterator[Complaint]:
    """A compose file starts an image that is for GPUs and asks for none: the service runs without one.

    docker compose gives a service only the devices that it asks for, whatever its image is. Without a request the program runs on the CPU
    or says that it finds no NVIDIA driver.

    Confirm: `docker compose config`; `docker compose run SERVICE nvidia-smi`.
    Remedy: `gpus: all` in the service (Compose 2.30 or newer), or deploy.resources.reservations.devices with capabilities: [gpu].
    Reference: https://docs.docker.com/compose/how-tos/gpu-support/
    """
    project = project_of(snapshot)
    if project is None or not project.compose:
        return
    files = [fact.value for fact in project.compose if isinstance(fact, Seen)]
    services = [service for file in files for service in file.services]
    # Where one asks, in this file or in one that is laid over it, the others are meant to run without.
    if any(service.asks for service in services):
        return
    for fact in project.compose:
        if isinstance(fact, Unseen):
            raise CannotTell(fact.detail, fact.tried)
    images = {file.path: file for file in dockerfiles(project)}
    for service in services:
        built = images.get(service.dockerfile)
        base = built.base if built else service.image if not service.dockerfile else ""
        image = recognise(base) if base else None
        wanted = builds(project, built, image.python) if built and image else ()
        if image is None or not image.gpu or (built and wanted and not any(build.gpu for build in wanted)):
            continue
        path = service.source.partition(":")[0]
        yield Complaint(
            Severity.WARNING,
            f"{path}: the service {service.name} starts an image for GPUs and asks for none",
            "docker compose gives a service only the devices that it asks for.",
            (
                Evidence(f"service {service.name} without a request for GPUs", service.source),
                Evidence(f"image {base}", built.source if built else service.source),
            ),
            "In the service: gpus: all (Compose 2.30 or newer), or: deploy: {resources: {reservations: {devices: [{driver: nvidia, count: all, "
            "capabilities: [gpu]}]}}}",
        )
        return


@rule(Layer.PROJECT)
def environment_hides_gpu_in_dockerfile(snapshot: Snapshot) -> Iterator[Complaint]:
    """ENV in a Dockerfile hides the GPU, leads the loader to a stub, or sets a variable that nothing reads.

    What ENV sets is there in every container of the image. CUDA_VISIBLE_DEVICES empty or -1 hides every GPU from CUDA;
    NVIDIA_VISIBLE_DEVICES void or none keeps the container engine from passing one; a stubs folder in LD_LIBRARY_PATH is for
    linking, not for running; a misspelt variable does nothing.

    Confirm: `docker image inspect --format '{{.Config.Env}}' IMAGE`.
    Remedy: remove or correct the line.
    Reference: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    """
    project = project_of(snapshot)
    if project is None:
        return
    for dockerfile in dockerfiles(project):
        image = recognise(dockerfile.base) if dockerfile.base else None
        installed = builds(project, dockerfile, image.python if image else "")
        # A CPU-only image may well say so.
        wanted = bool(image and image.gpu) or any(build.gpu for build in installed)
        places = {variable.name: variable.source for variable in dockerfile.variables}
        here = replace(snapshot, environment=tuple((one.name, one.value) for one in dockerfile.variables))
        rules = [stubs_on_library_path, variable_misspelt] + ([visible_devices_hides_gpus] if wanted else [])
        for known in rules:
            for complaint in known.judge(here):
                yield replace(
                    complaint,
                    summary=f"{dockerfile.path}: {complaint.summary}",
                    evidence=tuple(replace(one, source=_place(one, places)) for one in complaint.evidence),
                )
        hidden = here.variable("NVIDIA_VISIBLE_DEVICES")
        if wanted and hidden in ("", "void", "none"):
            yield Complaint(
                Severity.ERROR,
                f"{dockerfile.path}: NVIDIA_VISIBLE_DEVICES={hidden!r} keeps the container from getting a GPU",
                "The container engine passes only the GPUs that the variable names.",
                (Evidence(f"NVIDIA_VISIBLE_DEVICES={hidden!r}", places["NVIDIA_VISIBLE_DEVICES"]),),
                "Remove the line, or NVIDIA_VISIBLE_DEVICES=all",
            )


def _place(evidence: Evidence, places: dict[str, str]) -> str:
    name = evidence.fact.partition("=")[0]
    return places.get(name) or places.get(evidence.source) or evidence.source


@rule(Layer.PROJECT)
def pod_gpus_add_up(snapshot: Snapshot) -> Iterator[Complaint]:
    """Several containers of one pod ask for GPUs: the node must have all of them together.

    A GPU is given to one container, and the containers of a pod share none. A pod with two that ask for one GPU each needs a node with two
    that are free; where each node has one it stays Pending: "0/1 nodes are available: 1 Insufficient nvidia.com/gpu".

    Confirm: `kubectl describe pod NAME`; `kubectl get nodes -o custom-columns=NODE:.metadata.name,GPUS:.status.allocatable.nvidia\\.com/gpu`.
    Remedy: ask in the one container that computes, or let GPUs be shared (time-slicing, MPS) in the device plugin.
    Reference: https://kubernetes.io/docs/concepts/scheduling-eviction/resource-management/#extended-resources
    """
    project = project_of(snapshot)
    if project is None:
        return
    complained = False
    for fact in project.manifests:
        for workload in fact.value if isinstance(fact, Seen) else ():
            for resource in dict.fromkeys(each.resource for each in workload.asking):
                beside = [each for each in workload.asking if each.resource == resource and not each.role]
                total = sum(each.count for each in beside)
                if len(beside) < 2:
                    continue
                complained = True
                who = ", ".join(f"{each.container}: {each.count}" for each in beside)
                yield Complaint(
                    Severity.NOTE,
                    f"{workload.kind} {workload.name}: its containers ask for {total} x {resource} together, of one node",
                    "Containers of a pod do not share a GPU; a pod for which no node has as many free stays Pending: "
                    f"Insufficient {resource}.",
                    (Evidence(f"limits {who}", workload.source),),
                    "Ask for GPUs in the one container that computes, or let them be shared (time-slicing or MPS of the device plugin), "
                    f"or choose nodes with {total}",
                )
    unread = [fact for fact in project.manifests if isinstance(fact, Unseen)]
    for fact in unread:
        if fact.why is Why.NOT_APPLICABLE:
            complained = True
            yield Complaint(
                Severity.NOTE,
                f"{fact.tried[0]} asks for GPUs and was not read",
                "Nothing else depends on it.",
                (Evidence(fact.detail, fact.tried[0]),),
                "pip install 'gpu-capable[kubernetes]'",
            )
    if unread and not complained:
        raise CannotTell(
            "; ".join(fact.detail for fact in unread), tuple(place for fact in unread for place in fact.tried)
        )
