"""What is wrong with an image before it meets a node."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Library, Snapshot, Unseen, Why
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import CannotTell, Layer, need, rule

#: Less than this is a small library or two that a package brings for itself.
NOTEWORTHY, MUCH = 10 << 20, 100 << 20


def _only_files(snapshot: Snapshot) -> bool:
    """Whether these are the files of an image. Raises ``CannotTell`` where a kernel should be seen and is not."""
    if not isinstance(snapshot.host.kernel, Unseen) or snapshot.host.kernel.why is Why.ABSENT:
        return False
    if snapshot.host.kernel.why is Why.UNREADABLE:
        raise CannotTell("whether a kernel runs here cannot be seen", snapshot.host.kernel.tried)
    return True


@rule(Layer.LIBRARIES)
def cuda_twice_in_image(snapshot: Snapshot) -> Iterator[Complaint]:
    """The image holds CUDA's libraries twice, as a toolkit and as wheels, or in two environments.

    The wheels of torch, jax and tensorflow bring CUDA, cuDNN and NCCL and use these. The copies of a toolkit beside them are
    pulled to every node and loaded by nothing; or a program that searches LD_LIBRARY_PATH or the linker's cache gets them,
    in another version than the wheels'.

    Confirm: `gpucheck image IMAGE` lists the copies and who gets which.
    Remedy: build on an image without CUDA's libraries; keep the toolkit for a build stage.
    Reference: https://gitlab.com/nvidia/container-images/cuda/-/blob/master/README.md (base, runtime, devel)
    """
    if not _only_files(snapshot):
        return
    copies: dict[str, dict[str, Library]] = {}
    for library in snapshot.libraries:
        copies.setdefault(library.soname, {}).setdefault(library.real, library)
    doubled = {soname: tuple(found.values()) for soname, found in copies.items() if len(found) > 1}
    wasted = sum(sum(each.size for each in found) - max(each.size for each in found) for found in doubled.values())
    if wasted < NOTEWORTHY:
        return
    toolkits = sorted({each.path.rpartition("/")[0] for found in doubled.values() for each in found})
    largest = sorted(doubled, key=lambda soname: (-min(each.size for each in doubled[soname]), soname))
    yield Complaint(
        Severity.WARNING if wasted >= MUCH else Severity.NOTE,
        f"CUDA's libraries are in the image twice: {wasted / 1e6:,.0f} MB of copies",
        f"{len(doubled)} libraries are in more than one of {len(toolkits)} folders; a process loads one of each.",
        tuple(
            Evidence(f"{soname}: {' and '.join(each.version or '(version unknown)' for each in doubled[soname])}", " and ".join(each.path for each in doubled[soname]))
            for soname in largest[:4]
        ),
        "Build on an image without CUDA's libraries when wheels bring them (FROM debian, ubuntu, or nvidia/cuda:...-base); "
        "keep the toolkit for a build stage",
    )  # fmt: skip


@rule(Layer.USER_DRIVER)
def compat_always_used(snapshot: Snapshot) -> Iterator[Complaint]:
    """The image's search path gives cuda-compat's libcuda to every program, whatever driver the node has.

    cuda-compat is for nodes with an older driver; NVIDIA's container toolkit uses it there by itself. With its folder in
    LD_LIBRARY_PATH or /etc/ld.so.conf.d it is also used on nodes with a newer driver (error 803) and on GeForce cards (804),
    where the node's own libcuda would work.

    Confirm: `docker run IMAGE cat /etc/ld.so.conf.d/*.conf`; `gpucheck image IMAGE` says by which rule it is found.
    Remedy: take the folder off the search path; leave the files in /usr/local/cuda/compat.
    Reference: https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html
    """
    if not _only_files(snapshot):
        return
    chosen = reading.chosen_libcuda(snapshot)
    if chosen is None:
        reading.need_search(snapshot)
    if chosen is None or chosen.kind != "compat":
        return
    folder = chosen.path.rpartition("/")[0]
    by_variable = snapshot.libcuda.how == "LD_LIBRARY_PATH"
    note = next((note for note in snapshot.compat if note.path in (chosen.path, chosen.real)), None)
    yield Complaint(
        Severity.WARNING,
        "The image always uses its own cuda-compat, on nodes with a newer driver too",
        f"{'LD_LIBRARY_PATH' if by_variable else 'The configuration of the dynamic linker'} names its folder, so it is found "
        "before the libcuda of the node: error 803 where that is newer, 804 on GeForce cards.",
        (
            Evidence(f"libcuda.so.1 is {chosen.path}, found by {snapshot.libcuda.how}", "dynamic linker"),
            *(
                [Evidence(f"for CUDA {note.cuda}, host branches {', '.join(map(str, note.drivers))}", f"ELF note of {note.path}")]
                if note
                else []
            ),
        ),
        f"Take {folder} out of LD_LIBRARY_PATH"
        if by_variable
        else f"RUN grep -rl {folder} /etc/ld.so.conf.d | xargs rm && ldconfig",
    )  # fmt: skip


@rule(Layer.CONTAINER)
def compute_not_asked_for(snapshot: Snapshot) -> Iterator[Complaint]:
    """The image asks the container toolkit for no libcuda: NVIDIA_DRIVER_CAPABILITIES does not name compute.

    The toolkit mounts the driver's libraries by capability. Without `compute` there is no libcuda in the container, whatever
    GPU is given to it; nvidia-smi (utility) may work all the same.

    Confirm: `docker image inspect --format '{{json .Config.Env}}' IMAGE`.
    Remedy: ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility, or leave it unset: the toolkit's own default has compute.
    Reference: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html#driver-capabilities
    """
    if not _only_files(snapshot):
        return
    granted = snapshot.variable("NVIDIA_DRIVER_CAPABILITIES")
    if not granted or {"compute", "all"} & {word.strip() for word in granted.split(",")}:
        return
    wanting = next((framework for framework in snapshot.frameworks if framework.gpu), None)
    if wanting is None and not snapshot.libraries:
        return
    yield Complaint(
        Severity.WARNING,
        "The image does not ask for libcuda: NVIDIA_DRIVER_CAPABILITIES lacks compute",
        "The container toolkit mounts libcuda for the capability compute only.",
        (
            Evidence(f"NVIDIA_DRIVER_CAPABILITIES={granted}", "environment of the image"),
            Evidence(f"{wanting.name} {wanting.version} is for GPUs", wanting.evidence)
            if wanting
            else Evidence(f"{snapshot.libraries[0].soname} is there", snapshot.libraries[0].path),
        ),
        "ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    )


@rule(Layer.CONTAINER)
def label_contradicts_image(snapshot: Snapshot) -> Iterator[Complaint]:
    """A label of the image is not true of it: who judges it by its labels is misled.

    Labels are inherited. An image that is built on another has the other's labels, whatever it adds; and labels that were
    written by hand outlive an update.

    Confirm: `gpucheck image --verify-labels IMAGE`.
    Remedy: set the labels anew: `gpucheck image IMAGE --format labels | docker build -t IMAGE -`.
    Reference: https://docs.docker.com/reference/dockerfile/#label
    """
    if isinstance(snapshot.labels, Unseen) and snapshot.labels.why is Why.NOT_APPLICABLE:
        return  # No image, or one without labels that speak of GPUs.
    for false in need(snapshot.labels):
        yield Complaint(
            Severity.WARNING,
            f"The label {false.label} says {false.said}, which is not so",
            f"In the image: {false.seen}.",
            (
                Evidence(f"{false.label}={false.said}", "labels"),
                Evidence(false.seen, false.source or "the image's files"),
            ),
            "gpucheck image IMAGE --format labels | docker build -t IMAGE -",
        )
