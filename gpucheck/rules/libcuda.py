"""libcuda on disk: which file a process gets, and why it gets none."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpucheck.facts import Library, Seen, Snapshot, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import distributions, reading
from gpucheck.rules.causes import BELOW
from gpucheck.rules.rule import CannotTell, Layer, need, rule, seen

REAL = ("driver", "wsl", "tegra")


def found(snapshot: Snapshot) -> tuple[Evidence, ...]:
    """How the linker came to its libcuda, or where it looked in vain."""
    chosen = snapshot.libcuda
    if chosen.path:
        return (Evidence(f"libcuda.so.1 is {chosen.path}, found by {chosen.how}", "dynamic linker"),)
    return tuple(Evidence(place, "dynamic linker") for place in chosen.considered[:8]) or (
        Evidence("libcuda.so.1 is not found", "dynamic linker"),
    )


def comes_from_host(snapshot: Snapshot) -> None:
    """Raises ``CannotTell`` for the files of an image: its libcuda is mounted when a container starts."""
    if reading.no_kernel(snapshot):
        raise CannotTell("libcuda comes from the host when a container starts; these are only files")


def _foreign(snapshot: Snapshot) -> dict[str, str]:
    """Copies of a real libcuda that are for another processor, by path, and for which."""
    passed_over = dict(snapshot.libcuda.skipped)
    foreign = {}
    for copy in _real(snapshot):
        why = passed_over.get(copy.path, "")
        if copy.machine and snapshot.host.architecture and copy.machine != snapshot.host.architecture:
            foreign[copy.path] = copy.machine
        elif why.startswith("for ") or why.endswith("-bit"):
            foreign[copy.path] = why.removeprefix("for ")
    return foreign


def _real(snapshot: Snapshot) -> list[Library]:
    return [copy for copy in snapshot.libcuda_copies if copy.kind in REAL]


def _usable(snapshot: Snapshot) -> list[Library]:
    """Copies of a real libcuda that are for this processor."""
    foreign = _foreign(snapshot)
    return [copy for copy in _real(snapshot) if copy.path not in foreign]


@rule(
    Layer.USER_DRIVER,
    follows=(*BELOW, "compute-capability-not-granted", "wsl-without-gpu", "wsl-libcuda-missing", "device-node-missing"),
)
def libcuda_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """libcuda.so.1 is nowhere: no user-space driver is installed or mounted here.

    libcuda belongs to the driver, never to the CUDA toolkit or to a wheel. On a host the driver's package brings it, in a
    container the engine mounts it from the host.

    Confirm: `ldconfig -p | grep libcuda.so.1`.
    Remedy: install the driver on the host; start the container with the GPU asked for.
    Reference: https://docs.nvidia.com/deploy/cuda-compatibility/index.html
    """
    comes_from_host(snapshot)
    if (
        snapshot.libcuda.path
        or snapshot.broken_links
        or any(copy.kind in (*REAL, "compat") for copy in snapshot.libcuda_copies)
    ):
        return
    if isinstance(snapshot.cuda, Seen):
        return
    reading.need_search(snapshot)
    inside = reading.in_container(snapshot)
    nodes = inside and reading.node(snapshot, "/dev/nvidiactl") is not None
    module = snapshot.kernel.driver.value.version if isinstance(snapshot.kernel.driver, Seen) else None
    tegra = reading.tegra(snapshot)
    if nodes:
        cause = "The container was given the device nodes (--device, --privileged) without the driver's libraries, which only the toolkit mounts."
    elif tegra:
        cause = "On a Jetson the driver's libraries are the host's, and the container was started without its runtime."
    elif module and not inside:
        cause = f"The kernel module {module} is loaded, but the driver's CUDA library is not installed."
    else:
        cause = "It belongs to the driver: the host's driver package brings it, and the container engine mounts it."
    branch = module.branch if module else "<branch>"
    yield Complaint(
        reading.absence(snapshot),
        "libcuda.so.1 is nowhere on this system",
        cause,
        (
            *found(snapshot),
            *([Evidence(f"kernel module {module}", "/proc/driver/nvidia/version")] if module else []),
            *([Evidence("the node is there", "/dev/nvidiactl")] if nodes else []),
        ),
        "docker run --runtime nvidia ... (on a Jetson; with the NVIDIA container toolkit on the host)"
        if tegra and inside
        else "singularity exec --nv ... (apptainer exec --nv ...)"
        if isinstance(snapshot.container, Seen) and snapshot.container.value.kind == "singularity"
        else "docker run --gpus all ... (with the NVIDIA container toolkit on the host; podman: --device nvidia.com/gpu=all)"
        if inside
        else distributions.command(
            snapshot, distributions.LIBCUDA, "Install the driver's compute libraries", branch=branch
        )
        + f" (of exactly driver {module})"
        if module
        else "Install the NVIDIA driver ("
        + distributions.command(
            snapshot,
            distributions.DRIVER,
            "Ubuntu: sudo ubuntu-drivers install; Debian: sudo apt install nvidia-driver libcuda1",
        )
        + ")",
    )


@rule(Layer.USER_DRIVER, follows=("no-gpu", "driver-needs-glibc"))
def libcuda_off_loader_path(snapshot: Snapshot) -> Iterator[Complaint]:
    """libcuda.so.1 is on disk, but where the dynamic linker does not look.

    GKE mounts the driver at /usr/local/nvidia without telling the linker; Singularity, Colab, NixOS and driver
    containers have places of their own. A program that opens libcuda.so.1 by name does not find it.

    Confirm: `ldconfig -p | grep libcuda` prints nothing, the file exists.
    Remedy: put its folder into LD_LIBRARY_PATH, or into /etc/ld.so.conf.d and run ldconfig.
    Reference: https://cloud.google.com/kubernetes-engine/docs/how-to/gpus#cuda
    """
    if snapshot.libcuda.path or isinstance(snapshot.cuda, Seen):
        return
    reading.need_search(snapshot)
    # What the linker came by and cannot load is another fault: libcuda-unloadable, libcuda-for-other-processor.
    passed_over = {path for path, _ in snapshot.libcuda.skipped}
    copies = [
        copy for copy in _usable(snapshot) if copy.path.endswith(".so.1") and copy.size and copy.path not in passed_over
    ]
    if not copies:
        comes_from_host(snapshot)
        return
    folder = copies[0].path.rsplit("/", 1)[0]
    path = snapshot.variable("LD_LIBRARY_PATH")
    yield Complaint(
        Severity.ERROR,
        f"libcuda.so.1 is in {folder}, where the dynamic linker does not look",
        "The folder is neither in LD_LIBRARY_PATH nor in the linker's cache.",
        (
            Evidence(f"libcuda {copies[0].version or '(no version in its name)'}", copies[0].path),
            Evidence(f"LD_LIBRARY_PATH={path}" if path is not None else "LD_LIBRARY_PATH is not set", "environment"),
            *found(snapshot)[:3],
        ),
        f"export LD_LIBRARY_PATH={folder}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}} (in an image: ENV), "
        f"or: echo {folder} > /etc/ld.so.conf.d/nvidia.conf && ldconfig",
        decisive=True,
    )


@rule(Layer.USER_DRIVER, follows=("no-gpu", "libcuda-missing"))
def libcuda_outside_store(snapshot: Snapshot) -> Iterator[Complaint]:
    """The interpreter is of Nix or Guix, whose dynamic linker does not look where this system has libcuda.

    Their glibc reads no /etc/ld.so.cache and has its default folders in its own store, so that programs load only what they were built
    with. On a distribution that is not NixOS the driver's libraries are then found by nobody.

    Confirm: `readelf -lW $(readlink -f $(which python)) | grep interpreter` names /nix/store; `ldconfig -p | grep libcuda`.
    Remedy: run the program with nixGL, or LD_LIBRARY_PATH with a folder that holds links to the driver's libraries alone.
    Reference: https://github.com/nix-community/nixGL, https://nixos.wiki/wiki/Nvidia
    """
    path = snapshot.libcuda.path
    if not path or snapshot.libcuda.how == "LD_LIBRARY_PATH" or reading.reached(snapshot):
        return
    loader = seen(snapshot.loader, "") or ""
    if not loader.startswith(("/nix/store/", "/gnu/store/")) or path.startswith(
        ("/nix/", "/gnu/", "/run/opengl-driver/")
    ):
        return
    need(snapshot.loader)
    folder = path.rpartition("/")[0]
    yield Complaint(
        Severity.ERROR if snapshot.frameworks else Severity.WARNING,
        f"The interpreter's dynamic linker is in {'/'.join(loader.split('/')[:3])} and does not look into {folder}, where libcuda.so.1 is",
        "The linker of Nix and Guix reads no /etc/ld.so.cache.",
        (
            Evidence(
                f"its dynamic linker is {loader}", snapshot.loader.source if isinstance(snapshot.loader, Seen) else ""
            ),
            Evidence(f"libcuda.so.1, found by {snapshot.libcuda.how}", path),
        ),
        "nix run --impure github:nix-community/nixGL -- python ..., or: mkdir -p ~/.nvidia-libs && ln -s "
        f"{folder}/libcuda.so* {folder}/libnvidia-*.so* ~/.nvidia-libs && export LD_LIBRARY_PATH=~/.nvidia-libs",
    )


@rule(Layer.USER_DRIVER, follows=("libcuda-outside-store",))
def libcuda_unloadable(snapshot: Snapshot) -> Iterator[Complaint]:
    """libcuda.so.1 is found, but cannot be loaded.

    A library that it needs is missing (a half-installed driver: libcuda of the branches 390 to 440 needs
    libnvidia-fatbinaryloader, which some distributions package apart), it is cut off, or this user may not read it.

    Confirm: `ldd /path/to/libcuda.so.1`.
    Remedy: install the driver's packages completely; all their libraries must be of one version.
    Reference: ld.so(8)
    """
    chosen = snapshot.libcuda
    if isinstance(snapshot.cuda, Seen):
        return
    failed = snapshot.cuda.why is Why.ABSENT and chosen.path is not None
    if not failed and (not chosen.fatal or reading.no_kernel(snapshot)):
        if snapshot.cuda.why is not Why.ABSENT:
            need(snapshot.cuda)
        return
    said = (snapshot.cuda.detail if failed else "") or chosen.fatal
    path = chosen.path or chosen.fatal.partition(": ")[0]
    lacking = re.match(r"(?!libcuda\.so)(\S+): cannot open shared object file", said)
    why, remedy = next(
        ((why, remedy) for sign, why, remedy in REFUSALS if sign in said),
        ("The dynamic linker gives the reason in the evidence.", "Reinstall the driver's packages as a whole"),
    )
    yield Complaint(
        Severity.ERROR,
        f"libcuda.so.1 cannot be loaded: it needs {lacking[1]}, which is not found"
        if lacking
        else f"{path} is found, but cannot be loaded",
        "The driver's packages are not all installed, or the folder of one is not where the linker looks."
        if lacking
        else why,
        (Evidence(said, "dlopen in a child process" if failed else "the files' headers"), *found(snapshot)),
        f"Install the package of the same version that brings {lacking[1]}; then look at: ldd {path}"
        if lacking
        else f"{remedy}; look at: ldd {path}",
        decisive=True,
    )


#: The dynamic linker's own words (glibc, elf/dl-load.c), what they mean and what to do.
REFUSALS = (
    ("version `GLIBC", "It needs a newer glibc than this system has.", "Use an image or a distribution that is not older than the driver's glibc"),
    ("version `GLIBCXX", "It needs a newer libstdc++ than this system has.", "Update libstdc++6"),
    ("Permission denied", "This user may not read it.", "sudo chmod a+rx on the file and its folders; with SELinux: sudo restorecon -R on them"),
    ("Operation not permitted", "It lies on a file system that is mounted noexec, or a security module forbids to map it.", "Mount the file system with exec, or allow it in SELinux or AppArmor"),
    ("file too short", "The file is cut off.", "Reinstall the driver's packages as a whole"),
    ("invalid ELF header", "The file is no library: cut off, or a text file in its place.", "Reinstall the driver's packages as a whole"),
    ("cannot read file data", "The file is cut off.", "Reinstall the driver's packages as a whole"),
    ("undefined symbol", "A library that it needs is of another version.", "Reinstall the driver's packages as a whole, all of one version"),
    ("cannot open shared object file", "A library that it needs is missing: the driver is half installed.", "Reinstall the driver's packages as a whole, all of one version"),
)  # fmt: skip


@rule(Layer.USER_DRIVER, follows=("no-gpu", "driver-needs-glibc"))
def libcuda_for_other_processor(snapshot: Snapshot) -> Iterator[Complaint]:
    """The only libcuda here is for another processor: the 32-bit one, or one for another architecture.

    Distributions split the 32-bit libraries into a package of their own (for games), and images are sometimes run on a
    machine of another architecture. The dynamic linker passes such files over without a word.

    Confirm: `file -L $(find / -name 'libcuda.so.1' 2>/dev/null)`.
    Remedy: install the 64-bit compute libraries of the driver.
    Reference: ld.so(8)
    """
    if snapshot.libcuda.path or isinstance(snapshot.cuda, Seen):
        return
    reading.need_search(snapshot)
    foreign = _foreign(snapshot)
    if not foreign or _usable(snapshot):
        comes_from_host(snapshot)
        return
    module = snapshot.kernel.driver.value.version if isinstance(snapshot.kernel.driver, Seen) else None
    yield Complaint(
        Severity.ERROR,
        f"The only libcuda here is for {next(iter(foreign.values()))}, and this machine is {snapshot.host.architecture}",
        "The dynamic linker passes it over; the library for this processor is not installed.",
        (
            *(Evidence(f"libcuda for {machine}", path) for path, machine in list(foreign.items())[:3]),
            *found(snapshot)[:2],
        ),
        distributions.command(
            snapshot,
            distributions.LIBCUDA,
            "Install the driver's compute libraries for this processor",
            branch=module.branch if module else "<branch>",
        ),
        decisive=True,
    )


@rule(Layer.USER_DRIVER, follows=("no-gpu", "driver-needs-glibc"))
def libcuda_link_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """The driver's file is there, and the name libcuda.so.1 is missing or leads nowhere.

    Programs open libcuda.so.1; the file is libcuda.so.VERSION, and ldconfig or the package makes the link. Files that were copied by
    hand, an interrupted installation, or a container in which ldconfig could not write leave it out; an update that removed
    the old file leaves a link to nothing.

    Confirm: `ls -l /usr/lib/*/libcuda.so*`.
    Remedy: `sudo ldconfig`, or install the driver's packages again.
    Reference: ldconfig(8)
    """
    if snapshot.libcuda.path or isinstance(snapshot.cuda, Seen):
        return
    reading.need_search(snapshot)
    copies = _usable(snapshot)
    broken = [link for link in snapshot.broken_links if "/libcuda.so.1 " in link]
    if any(copy.path.endswith(".so.1") for copy in copies) or not (copies or broken):
        comes_from_host(snapshot)
        return
    yield Complaint(
        Severity.ERROR,
        "libcuda.so.1 leads to a file that is not there"
        if broken
        else f"The driver's libcuda is there ({copies[0].path}), but not under the name libcuda.so.1",
        "The link is left over from another version of the driver."
        if broken
        else "Programs open libcuda.so.1; the link with that name was not made.",
        (
            *(Evidence(link, "link") for link in broken),
            *(Evidence(f"libcuda {copy.version or '(no version in its name)'}", copy.path) for copy in copies[:2]),
        ),
        "sudo ldconfig"
        + ("" if copies else ", and if the link stays broken install the driver's packages again")
        + (
            ""
            if not reading.in_container(snapshot)
            else " (in the container; on a read-only root: mount the link from the host)"
        ),
        decisive=True,
    )


@rule(Layer.USER_DRIVER)
def driver_needs_glibc(snapshot: Snapshot) -> Iterator[Complaint]:
    """This system is built on musl, and the driver's libraries need glibc.

    libcuda, libnvidia-ml and NVIDIA's toolkit libraries are built against glibc. On Alpine the files that the container
    toolkit mounts cannot be loaded; there is no ld.so.cache that it could update, either. Add-ons that imitate glibc break with
    newer drivers.

    Confirm: `ls /lib/ld-musl-*`; `ldd /usr/lib/x86_64-linux-gnu/libcuda.so.1` names symbols that are not found.
    Remedy: use an image on glibc (Debian, Ubuntu, Rocky, Wolfi).
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/1526
    """
    libc = need(snapshot.host.libc)
    if libc.kind != "musl" or reading.reached(snapshot):
        return
    declared = reading.declares_gpu(snapshot)
    wanted = (
        declared
        or any(framework.gpu for framework in snapshot.frameworks)
        or (reading.in_container(snapshot) and reading.node(snapshot, "/dev/nvidiactl") is not None)
    )
    if not wanted:
        return
    yield Complaint(
        Severity.ERROR,
        "This system is built on musl: NVIDIA's driver libraries cannot be loaded",
        "libcuda and the CUDA libraries are built against glibc.",
        (
            Evidence(
                "the C library is musl", snapshot.host.libc.source if isinstance(snapshot.host.libc, Seen) else ""
            ),
            *([Evidence(f"{declared}={snapshot.variable(declared)}", "environment")] if declared else []),
            *(Evidence(copy.kind + " library", copy.path) for copy in snapshot.libcuda_copies[:1]),
        ),
        "Use an image that is built on glibc, for example python:3.12-slim (Debian) instead of python:3.12-alpine",
    )


#: From this branch on libcuda opens the compiler by its name: measured from 450.248.02 to 555.58.02; 418 has the name elsewhere.
OPENS_COMPILER = 450


@rule(
    Layer.USER_DRIVER,
    follows=(
        "driver-version-mismatch",
        "libcuda-unloadable",
        "libcuda-is-stub",
        "wsl-libcuda-shadowed",
        "compute-capability-not-granted",
    ),
)
def ptx_compiler_missing(snapshot: Snapshot) -> Iterator[Complaint]:
    """libnvidia-ptxjitcompiler.so.1 is missing beside libcuda: the driver cannot compile PTX.

    libcuda opens it when a program brings PTX and no code for the GPU itself: JAX and numba always do, others on a GPU that is newer
    than they are. They stop with "PTX JIT compiler library not found" (CUDA_ERROR_JIT_COMPILER_NOT_FOUND, 221); programs that have code
    for the GPU run. Driver files that were mounted or copied one by one, and distributions that package it apart, leave it out.

    Confirm: `ldconfig -p | grep ptxjitcompiler`.
    Remedy: install it in the driver's version, or have the container toolkit mount the driver instead of single files.
    Reference: https://github.com/jax-ml/jax/issues/9644
    """
    comes_from_host(snapshot)
    compiler, chosen = snapshot.ptx_compiler, reading.chosen_libcuda(snapshot)
    if compiler is None:
        raise CannotTell("libnvidia-ptxjitcompiler.so.1 was not looked up")
    if compiler.path or compiler.fatal or compiler.how == "unknown" or chosen is None or chosen.kind != "driver":
        return
    branch = int(chosen.version.split(".")[0]) if chosen.version else 0
    if branch < OPENS_COMPILER:
        return
    inside = reading.in_container(snapshot)
    yield Complaint(
        Severity.WARNING,
        "libnvidia-ptxjitcompiler.so.1 is not beside libcuda: the driver cannot compile PTX",
        "libcuda opens it by this name for PTX, which JAX and numba always bring, others only for GPUs that are newer than they are.",
        (
            Evidence("libnvidia-ptxjitcompiler.so.1 is not found", "dynamic linker"),
            Evidence(f"libcuda {chosen.version}, found by {snapshot.libcuda.how}", chosen.path),
        ),
        f"Have the container toolkit mount the whole driver (--gpus all, NVIDIA_DRIVER_CAPABILITIES=compute,utility) instead of single files; "
        f"on the host libnvidia-ptxjitcompiler.so.{chosen.version} must be there"
        if inside
        else distributions.command(
            snapshot, distributions.LIBCUDA, "Install the driver's compute libraries as a whole", branch=str(branch)
        )
        + f" (it brings libnvidia-ptxjitcompiler.so.{chosen.version}; Debian: libnvidia-ptxjitcompiler1)",
    )
