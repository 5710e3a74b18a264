"""Python packages: builds that do not belong together, files that two own or that are gone, the wrong interpreter."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Framework, Need, Packages, Seen, Snapshot, Unseen, Wheel, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.kb import pairs
from gpucheck.markers import release, satisfies
from gpucheck.rules import reading
from gpucheck.rules.rule import CannotTell, Layer, need, rule, seen


def installs(snapshot: Snapshot, location: str, what: str) -> str:
    """The command that installs packages into the environment of a folder: of uv where uv made it."""
    python = next((each for each in snapshot.pythons if location in each.packages), None)
    wheels = snapshot.packages.value.wheels if isinstance(snapshot.packages, Seen) else ()
    by_uv = any(wheel.location == location and wheel.installer == "uv" for wheel in wheels)
    command = "uv pip install" if by_uv else "pip install"
    outside = python is not None and python.chosen_by == "--python" and python.prefix.startswith("/")
    if outside and python:
        command = f"{command} --python {python.prefix}" if by_uv else f"{python.prefix}/bin/python -m pip install"
    return f"{command} {what}"


def reinstalls(snapshot: Snapshot, location: str, what: str) -> str:
    """The same for packages that are there, but broken."""
    command = installs(snapshot, location, "")
    return f"{command}{'--reinstall' if command.startswith('uv') else '--force-reinstall --no-deps'} {what}"


def older(version: str, specifier: str) -> bool:
    """Whether a version is too low for a specifier, whatever its upper limits are."""
    floors = [clause for clause in specifier.split(",") if re.match(r"\s*(>=|==|~=|>)", clause)]
    if not floors or not release(version):
        return False
    wanted = max(release(re.sub(r"^\W+", "", clause.strip())) for clause in floors)
    # A file's name may say less than the wheel's version: 9.1.0 against 9.1.0.70.
    return release(version)[: len(wanted)] < wanted[: len(release(version))]


def known(snapshot: Snapshot) -> Packages | None:
    """The packages; None where there are none. Raises ``CannotTell``."""
    return seen(snapshot.packages, None)


@rule(Layer.FRAMEWORK)
def wheel_for_other_machine(snapshot: Snapshot) -> Iterator[Complaint]:
    """A package was built for another processor, another Python or another C library than this.

    Its compiled parts cannot be loaded: "wrong ELF class", "No module named ..._C", "invalid ELF header". pip refuses such
    wheels; copied environments, images that are built for another platform (docker build --platform), and PYTHONPATH into
    another Python's folder get round it. On Alpine (musl) wheels for glibc do not work, and NVIDIA ships none for musl.

    Confirm: `cat SITE-PACKAGES/NAME-*.dist-info/WHEEL | grep Tag`; `python -VV`; `uname -m`.
    Remedy: make the environment anew on this machine, with this Python.
    Reference: https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/
    """
    packages = known(snapshot)
    for wheel in packages.wheels if packages else ():
        why = _foreign(snapshot, wheel)
        if why:
            yield Complaint(
                Severity.ERROR,
                f"{wheel.name} {wheel.version} is built for {why}",
                "Its compiled parts cannot be loaded here.",
                (Evidence(f"built for {', '.join(wheel.tags)}", f"WHEEL of {wheel.name} in {wheel.location}"), *_here(snapshot, wheel)),
                "Make the environment anew with this machine's Python: python -m venv, then install"
                if "musl" not in why and "glibc" not in why
                else "Use a base image with glibc (Debian, Ubuntu, UBI): CUDA's libraries exist for glibc only",
            )  # fmt: skip


def _here(snapshot: Snapshot, wheel: Wheel) -> tuple[Evidence, ...]:
    python = next((each for each in snapshot.pythons if wheel.location in each.packages), None)
    found = [Evidence(f"this machine is {snapshot.host.architecture}", "uname -m")]
    if python and python.version:
        found.append(Evidence(f"Python {python.version}", python.prefix))
    if isinstance(snapshot.host.libc, Seen):
        found.append(
            Evidence(
                f"{snapshot.host.libc.value.kind} {snapshot.host.libc.value.version}".strip(), snapshot.host.libc.source
            )
        )
    return tuple(found)


def _foreign(snapshot: Snapshot, wheel: Wheel) -> str:
    """What a wheel is for, where no tag of it fits; '' where one does, or that cannot be told."""
    if not wheel.tags or any(tag.endswith("-none-any") for tag in wheel.tags):
        return ""
    platforms = {tag.rsplit("-", 1)[-1] for tag in wheel.tags}
    here = snapshot.host.architecture
    if here and not any(platform.endswith(f"_{here}") or platform == "any" for platform in platforms):
        if all(
            re.search(r"_(x86_64|aarch64|i686|ppc64le|s390x|armv7l|arm64|amd64)$", platform) for platform in platforms
        ):
            return f"{min(platforms)}, this is {here}"
        return ""
    if isinstance(snapshot.host.libc, Seen) and snapshot.host.libc.value.kind in ("glibc", "musl"):
        kind = snapshot.host.libc.value.kind
        other = "manylinux" if kind == "musl" else "musllinux"
        if all(platform.startswith(other) for platform in platforms):
            return f"{'glibc' if kind == 'musl' else 'musl'}, this system has {kind}"
    python = next((each.version for each in snapshot.pythons if wheel.location in each.packages), "")
    minors = {match[1] for tag in wheel.tags if (match := re.match(r"cp3(\d+)-cp3\d+t?-", tag))}
    only_minors = len(minors) == len({tag.split("-")[0] for tag in wheel.tags})
    if python and minors and only_minors and python.removeprefix("3.") not in minors:
        return f"Python {', '.join(f'3.{minor}' for minor in sorted(minors))}, this is {python}"
    return ""


@rule(Layer.FRAMEWORK)
def packages_share_files(snapshot: Snapshot) -> Iterator[Complaint]:
    """Two distributions own the same files: the one that was installed last won, the other is broken.

    Builds of one library have different names for pip (onnxruntime and onnxruntime-gpu, cupy-cuda11x and cupy-cuda12x,
    nvidia-cudnn-cu12 and nvidia-cudnn-cu13) and unpack into the same folder. Nothing warns. What is imported is a mix, and
    uninstalling one of them breaks the other.

    Confirm: `pip list | grep -i NAME` shows both; their RECORD files name the same paths with other hashes.
    Remedy: uninstall both, then install the one that is wanted.
    Reference: https://onnxruntime.ai/docs/install/
    """
    packages = known(snapshot)
    for overlap in packages.overlaps if packages else ():
        names = [owner.rsplit(" ", 1)[0] for owner in overlap.owners]
        gpu = next((name for name in names if re.search(r"-gpu$|-cuda\d+x?$|-cu\d+$", name)), "")
        winner = overlap.winner.rsplit(" ", 1)[0]
        # Two builds of a library that has nothing to do with the driver (opencv) are a nuisance, not a fault of the GPU.
        ours = bool(gpu) and not names[0].startswith("opencv")
        needed = _of_major(snapshot, overlap.location, names)
        both = all(re.search(r"-cu(da)?\d+x?$", name) for name in names)
        harmless = ours and winner == gpu and not re.search(r"-cu(da)?\d+x?$", gpu)
        wanted = gpu if not re.search(r"-cu(da)?\d+x?$", gpu) else needed or gpu
        yield Complaint(
            Severity.ERROR if ours and not harmless and (winner != needed if both else winner != wanted) else Severity.WARNING,
            f"{overlap.owners[0]} and {overlap.owners[1]} own the same files"
            + (f"; those of {winner} are on disk" if winner else ""),
            "They are builds of one library: the one that was installed last overwrote the other.",
            (
                Evidence(f"{overlap.count} files with other contents, such as {overlap.file}", f"RECORD of both in {overlap.location}"),
                *([Evidence(f"the files on disk are those of {overlap.winner}", f"{overlap.location}/{overlap.file}")] if winner else []),
            ),
            f"pip uninstall -y {' '.join(names)} && {installs(snapshot, overlap.location, wanted or names[1])}",
        )  # fmt: skip


def _of_major(snapshot: Snapshot, location: str, names: list[str]) -> str:
    """Of two builds for two CUDA majors, the one that a framework beside them requires."""
    needs = snapshot.packages.value.needs if isinstance(snapshot.packages, Seen) else ()
    return next(
        (
            name
            for name in names
            if any(one.name == name and one.location == location and not one.extra for one in needs)
        ),
        "",
    )


@rule(Layer.FRAMEWORK, follows=("packages-share-files",))
def package_files_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """A package is installed by its name, but libraries that it lists are not on disk.

    pip goes by the .dist-info folder. When another package was uninstalled that owned the same files, when an image was made
    smaller by deleting "unneeded" libraries, or when a copy was cut off, pip says "already satisfied" and the import fails.

    Confirm: `pip show -f NAME`, and look at the files.
    Remedy: reinstall the package by force.
    Reference: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    packages = known(snapshot)
    for lost in packages.lost if packages else ():
        name, _, version = lost.owner.rpartition(" ")
        yield Complaint(
            reading.lacking(snapshot),
            f"{lost.owner} lacks {lost.count} of its {'library' if lost.count == 1 else 'libraries'}: {lost.file.rsplit('/', 1)[-1]}"
            + (" and others" if lost.count > 1 else ""),
            "pip's list of installed files names them, and they are not on disk.",
            (Evidence(f"{lost.location}/{lost.file} does not exist", f"RECORD of {lost.owner}"),),
            reinstalls(snapshot, lost.location, f"{name}=={version}"),
        )


#: Requirements that decide about GPUs; others (numpy, keras) are pip's business.
DECIDING = r"nvidia-.*|cuda-toolkit|torch|torchvision|torchaudio|triton|jax|jaxlib|jax-cuda.*|tensorflow|onnxruntime.*|cudf.*|cupy.*"


@rule(Layer.FRAMEWORK, follows=("packages-share-files",))
def requirement_unmet(snapshot: Snapshot) -> Iterator[Complaint]:
    """A package requires another version of a GPU library than the one that is installed, or one that is not installed.

    `pip install --no-deps`, a second `pip install` that changed a shared dependency ("ERROR: pip's dependency resolver ..."
    is only printed), or an index without the package. torchvision, torchaudio, xformers and vLLM are compiled for exactly
    one torch; jax refuses another jaxlib; torch refuses a cuDNN that is older than the one it was built with.

    Confirm: `pip check`.
    Remedy: install the version that is required, all in one command.
    Reference: https://pip.pypa.io/en/stable/cli/pip_check/
    """
    packages = known(snapshot)
    found: dict[tuple[str, str], list[Need]] = {}
    for one in packages.needs if packages else ():
        # The plugin of jax loads the wheels beside it, whether its extra asked for them or torch did.
        counts = not one.extra or (bool(one.version) and one.by.startswith("jax-cuda"))
        if counts and re.fullmatch(DECIDING, one.name) and _unmet(one):
            found.setdefault((one.location, one.by), []).append(one)
    for (location, by), needs in found.items():
        first = needs[0]
        missing = not first.version
        yield Complaint(
            _weight(snapshot, needs),
            f"{by} requires {first.name}{first.specifier}, " + ("which is not installed" if missing else f"and {first.version} is installed")
            + (f" ({len(needs) - 1} more)" if len(needs) > 1 else ""),
            "It finds what it needs only where something else brings it." if missing
            else "It was built for that version: functions are missing, or are called with the wrong arguments.",
            tuple(Evidence(f"{one.name}{one.specifier} is required, {one.version or 'none'} is installed", f"METADATA of {by} in {location}") for one in needs[:6]),
            installs(snapshot, location, " ".join(f"'{one.name}{one.specifier}'" for one in needs[:6])) + _or_companion(by, first),
        )  # fmt: skip
    if not found and packages and packages.unread:
        raise CannotTell(f"{packages.unread[0]} could not be read", packages.unread)


def _or_companion(by: str, one: Need) -> str:
    """What is compiled for one torch can be exchanged instead of torch."""
    if one.name != "torch" or not one.version or "==" not in one.specifier:
        return ""
    return f" (or keep torch {one.version} and install the {by.rsplit(' ', 1)[0]} that is made for it)"


def _unmet(one: Need) -> bool:
    if not one.version:
        return True
    # +cu126 is the same torch for this purpose.
    if not one.specifier or satisfies(one.version.partition("+")[0], one.specifier.partition("+")[0]) is not False:
        return False
    # A newer NVIDIA library of the same major does what the older one did; their own wheels ask for a floor only.
    return (
        not one.name.startswith(("nvidia-", "cuda-toolkit")) or older(one.version, one.specifier) or _other_major(one)
    )


def _other_major(one: Need) -> bool:
    floors = [
        release(re.sub(r"^\W+", "", clause))
        for clause in one.specifier.split(",")
        if re.match(r"\s*(>=|==|~=)", clause)
    ]
    return bool(floors) and release(one.version)[0] != floors[0][0]


def _weight(snapshot: Snapshot, needs: list[Need]) -> Severity:
    """Certain failures are errors: a library that is not there, another cuDNN major or an older one, jax and jaxlib, torch's family."""
    for one in needs:
        if one.name in ("jaxlib", "jax") and one.by.startswith("jax"):
            return Severity.ERROR
        if (
            one.name == "torch"
            and re.match(r"(torchvision|torchaudio|vllm|torch-\w+) ", one.by)
            and "==" in one.specifier
        ):
            return Severity.ERROR
        if one.name.startswith("nvidia-cudnn") and one.version and older(one.version, one.specifier):
            return Severity.ERROR
        # What is not installed as a wheel may be found elsewhere: then nothing is missing.
        lacking = isinstance(snapshot.loads, Seen) and any(
            each.missing for each in snapshot.loads.value if each.location == one.location
        )
        if one.name.startswith("nvidia-") and lacking and (not one.version or _other_major(one)):
            return reading.lacking(snapshot)
    return Severity.WARNING


#: Packages of one release, by the local part of whose version their builds are told apart.
FAMILY = ("torchvision", "torchaudio", "torchcodec", "fbgemm-gpu", "xformers")


@rule(Layer.FRAMEWORK, follows=("requirement-unmet",))
def companions_for_other_cuda(snapshot: Snapshot) -> Iterator[Complaint]:
    """torch and torchvision or torchaudio are builds for different CUDA versions.

    Two indexes were used (PyPI for one, download.pytorch.org/whl/cu118 for the other, or /whl/cpu). torchvision says
    "PyTorch and torchvision were compiled with different CUDA major versions", or its operators do not exist on the GPU.

    Confirm: `pip list | grep torch`: the part after + must be the same.
    Remedy: install them together, from one index.
    Reference: https://pytorch.org/get-started/locally/
    """
    packages = known(snapshot)
    for torch in snapshot.frameworks:
        if torch.name != "torch":
            continue
        mine = _tag(torch.version) or (f"cu{torch.cuda.major}{torch.cuda.minor}" if torch.cuda else "")
        for wheel in packages.wheels if packages else ():
            theirs = _tag(wheel.version)
            if wheel.name not in FAMILY or wheel.location != torch.location or not theirs or not mine or theirs == mine:
                continue
            same_major = theirs[:-1] == mine[:-1] and theirs.startswith("cu")
            yield Complaint(
                Severity.WARNING if same_major else Severity.ERROR,
                f"torch is built for {mine}, {wheel.name} for {theirs}",
                "They came from two indexes. "
                + ("Both are for one CUDA major, which works." if same_major else f"{wheel.name}'s operators do not work on the GPU."),
                (Evidence(f"torch {torch.version}", torch.evidence), Evidence(f"{wheel.name} {wheel.version}", wheel.location)),
                installs(snapshot, torch.location, f"--force-reinstall torch {wheel.name} --index-url https://download.pytorch.org/whl/{mine if mine != 'cpu' else theirs}"),
            )  # fmt: skip


def _tag(version: str) -> str:
    local = version.partition("+")[2].partition(".")[0]
    return local if re.fullmatch(r"cu\d{2,3}|cpu", local) else ""


@rule(Layer.FRAMEWORK)
def gpu_build_in_other_environment(snapshot: Snapshot) -> Iterator[Complaint]:
    """The Python that runs here has a CPU build or none, and another environment on this machine has the GPU build.

    A virtual environment that is not activated, sudo or cron with another PATH, a notebook kernel of another interpreter, or
    `pip` and `python` of two installations: the package was installed, but not for the Python that imports it.

    Confirm: `python -c "import sys, torch; print(sys.executable, torch.__file__)"`; `which -a python`.
    Remedy: run the other interpreter, or install into this one with `python -m pip`.
    Reference: https://docs.python.org/3/tutorial/venv.html
    """
    if len(snapshot.pythons) < 2:
        return
    first = snapshot.pythons[0]
    if any(each.gpu is None for each in snapshot.frameworks if each.location in first.packages):
        raise CannotTell("the files of a framework do not tell how it was built")
    for framework in snapshot.frameworks:
        if not framework.gpu or framework.location in first.packages:
            continue
        other = next((each for each in snapshot.pythons if framework.location in each.packages), None)
        mine = _same(snapshot, framework, first.packages)
        if other is None or other.chosen_by == "PYTHONPATH" or (mine and mine.gpu):
            continue
        if mine is None and any(each.location in first.packages and each.gpu for each in snapshot.frameworks):
            continue
        yield Complaint(
            Severity.WARNING,
            f"{first.prefix} ({first.chosen_by}) has "
            + (f"a CPU build of {framework.name}" if mine else f"no {framework.name}")
            + f", {other.prefix} has the GPU build",
            "Programs use the environment that comes first.",
            (
                *([Evidence(f"{mine.name} {mine.version}, a CPU build", mine.evidence)] if mine else [Evidence(f"no {framework.name}", first.packages[0])]),
                Evidence(f"{framework.name} {framework.version} for GPUs", framework.evidence),
            ),
            f"Run {other.prefix.rstrip('/')}/bin/python, or install into the first: {first.prefix.rstrip('/')}/bin/python -m pip install {framework.name}",
        )  # fmt: skip
        return


def _same(snapshot: Snapshot, framework: Framework, packages: tuple[str, ...]) -> Framework | None:
    stem = re.sub(r"-(gpu|cpu|cuda\d+x|cu\d+)$", "", framework.name)
    return next((each for each in snapshot.frameworks if each.location in packages and re.sub(r"-(gpu|cpu|cuda\d+x|cu\d+)$", "", each.name) == stem), None)  # fmt: skip


@rule(Layer.FRAMEWORK, follows=("requirement-unmet",))
def known_bad_pair(snapshot: Snapshot) -> Iterator[Complaint]:
    """Two versions are installed that are known not to work together.

    Nothing in the packages says so: the pairs are in a table, each with its source (`gpucheck kb pairs`).

    Confirm: the versions that the finding names, and the issue that it refers to.
    Remedy: by the pair, see the finding's text.
    Reference: https://pip.pypa.io/en/stable/topics/dependency-resolution/
    """
    packages = known(snapshot)
    locations = dict.fromkeys(wheel.location for wheel in packages.wheels) if packages else {}
    driver = reading.driver_version(snapshot)
    beside = {
        "compute capability": [str(capability) for _, capability in reading.capable(snapshot)],
        "driver": [str(driver[0])] if driver else [],
    }
    for location in locations:
        here = {
            wheel.name: wheel.version for wheel in (packages.wheels if packages else ()) if wheel.location == location
        }
        for row in pairs.pairs():
            version = here.get(row.library, "")
            if not version or satisfies(version, row.versions) is not True:
                continue
            others = beside.get(row.other, [here.get(row.other, "")])
            bad = next((one for one in others if one and satisfies(one, row.others) is True), "")
            if not bad:
                continue
            yield Complaint(
                Severity.ERROR if row.breaks else Severity.WARNING,
                f"{row.library} {version} does not work with {row.other} {bad}: {row.symptom}",
                f"{row.because}.",
                (Evidence(f"{row.library} {version}, {row.other} {bad}", location), Evidence(f"known of {row.library} {row.versions} with {row.other} {row.others}", row.reference)),
                row.remedy if not row.install else installs(snapshot, location, row.install),
            )  # fmt: skip
    if packages is None and isinstance(snapshot.packages, Unseen) and snapshot.packages.why is not Why.ABSENT:
        need(snapshot.packages)
