"""What an image requires of the host: NVIDIA_REQUIRE_*."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck import require
from gpucheck.facts import Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.rule import CannotTell, Layer, rule


@rule(Layer.CONTAINER)
def requirement_not_met(snapshot: Snapshot) -> Iterator[Complaint]:
    """The image requires another driver, CUDA version or GPU than this host has (NVIDIA_REQUIRE_*).

    NVIDIA's images say in NVIDIA_REQUIRE_CUDA on which hosts they are supported. nvidia-container-cli refuses to start a container on
    others ("unsatisfied condition"); with CDI, the default of the container toolkit since 1.18, nobody checks, and the program fails later
    or, as the requirement is stricter than minor-version compatibility, works.

    Confirm: `env | grep NVIDIA_REQUIRE`; `nvidia-smi` prints driver and CUDA version.
    Remedy: a driver that meets it; where the image runs all the same, start it with NVIDIA_DISABLE_REQUIRE=1.
    Reference: https://github.com/NVIDIA/nvidia-container-toolkit/issues/1470
    """
    try:
        wanted = require.requirements(dict(snapshot.environment))
    except require.Invalid as error:
        yield _complaint(
            snapshot, "an engine that checks it does not understand what the image requires", str(error), ()
        )
        return
    if not wanted:
        return
    known, supported = reading.driver_version(snapshot), reading.supported_cuda(snapshot)
    if known is None or supported is None:
        raise CannotTell("the driver is not known, so what the image requires of it cannot be compared")
    gpus = reading.answering_gpus(snapshot)
    listed = [(str(gpu.capability) if gpu.capability else "", _word(gpu.brand)) for gpu in gpus] or [("", "")]
    hosts = [require.Host(str(supported[0]), str(known[0]), capability, word) for capability, word in listed]
    doubt = False
    for name, value in wanted:
        for host in hosts:
            try:
                answer = require.legacy(value, host)
            except require.Invalid as error:
                yield _complaint(snapshot, f"nvidia-container-cli does not understand {name}", str(error), ())
                return
            doubt = doubt or answer.holds is None
            if answer.holds is False:
                failed = answer.failures[0]
                yield _complaint(
                    snapshot,
                    f"this host does not meet what the image requires: {failed.term}",
                    f"None of the {len(answer.failures)} alternatives in {name} holds for driver {host.driver} (CUDA {host.cuda})"
                    + (f" and a GPU of brand {host.brand}." if host.brand else "."),
                    (
                        Evidence(f"{name}={value}", "environment"),
                        Evidence(f"driver {known[0]}", known[1]),
                        Evidence(f"CUDA {supported[0]}", supported[1]),
                    ),
                )
                return
    if doubt:
        raise CannotTell(
            "a fact that the image's requirement compares is not known", ("NVML's brand and compute capability",)
        )


def _word(brand: int | None) -> str:
    from gpucheck.kb.forward import brands

    row = brands().get(brand) if brand is not None else None
    return row.word if row else "" if brand is None else "unknown"


def _complaint(snapshot: Snapshot, summary: str, cause: str, evidence: tuple[Evidence, ...]) -> Complaint:
    works = reading.reached(snapshot)
    return Complaint(
        Severity.NOTE if works else Severity.WARNING,
        summary[0].upper() + summary[1:],
        f"{cause} Where nvidia-container-cli starts the container (docker run --gpus, legacy mode) it refuses; with CDI nobody checks.",
        evidence or (Evidence("NVIDIA_REQUIRE_* is set", "environment"),),
        "Nothing here: CUDA was reached; elsewhere NVIDIA_DISABLE_REQUIRE=1 skips the check"
        if works
        else "Update the host's driver; where the image runs all the same, start it with: docker run -e NVIDIA_DISABLE_REQUIRE=1 ...",
    )
