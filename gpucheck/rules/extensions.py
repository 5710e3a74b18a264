"""Compiled extensions of torch."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Framework, Loads, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.rules import reading
from gpucheck.rules.packages import installs
from gpucheck.rules.rule import CannotTell, Layer, rule, seen


@rule(
    Layer.FRAMEWORK,
    follows=("packages-share-files", "package-files-missing", "wheel-for-other-machine", "requirement-unmet"),
)
def extension_of_other_torch(snapshot: Snapshot) -> Iterator[Complaint]:
    """An extension was compiled for another torch than the installed one: "undefined symbol: _ZN3c10...".

    flash-attn, torchvision, xformers, vLLM and others are linked with torch's C++ interface, which changes from version to
    version. After torch was updated or downgraded, or when a wheel for another torch was taken, its library lacks the functions.
    torchvision then says that "operator torchvision::nms does not exist".

    Confirm: `python -c "import torch, flash_attn"`; `gpucheck trace -- python -c "import torch, flash_attn"`.
    Remedy: install the extension's build for this torch, or build it anew.
    Reference: https://github.com/Dao-AILab/flash-attention/issues/966
    """
    for each in seen(snapshot.extensions, ()) or ():
        torch = next(
            (one for one in snapshot.frameworks if one.name == "torch" and one.location == each.location), None
        )
        name = f"torch {torch.version}" if torch else "the installed torch"
        if each.missing:
            lost = each.missing[0]
            yield Complaint(
                Severity.ERROR,
                f"{each.name} {each.version} needs {', '.join(one.soname for one in each.missing)}, which "
                f"{'does' if len(each.missing) == 1 else 'do'} not come with {name}",
                "It was compiled for another CUDA or another torch.",
                (
                    Evidence(f"{lost.soname} is not found", f"needed by {lost.requester}"),
                    *(Evidence("what is there", path) for path in lost.copies[:2]),
                    *([Evidence(f"{name} is for CUDA {torch.cuda}", torch.evidence)] if torch and torch.cuda else []),
                ),
                _rebuild(snapshot, each, torch),
                decisive=reading.import_names(snapshot, lost.soname),
            )
        elif each.misfits:
            misfit = each.misfits[0]
            yield Complaint(
                Severity.ERROR,
                f"{each.name} {each.version} was compiled for another torch than {name}",
                f"It calls a function that this torch does not have; importing {each.name} fails.",
                (
                    Evidence(misfit.message, "what the dynamic linker will say"),
                    Evidence(f"{name} does not define it", misfit.path),
                ),
                _rebuild(snapshot, each, torch),
                decisive=reading.import_names(snapshot, misfit.symbol),
            )
        elif each.unread:
            raise CannotTell(f"{each.unread[0]}", each.unread)


def _rebuild(snapshot: Snapshot, extension: Loads, torch: Framework | None) -> str:
    if extension.name == "bitsandbytes" and any("BNB_CUDA_VERSION" in each.requester for each in extension.missing):
        return f"unset BNB_CUDA_VERSION: bitsandbytes then takes its library for torch's CUDA {torch.cuda if torch and torch.cuda else ''}".rstrip()
    version = torch.version.partition("+") if torch else ("", "", "")
    index = f" --index-url https://download.pytorch.org/whl/{version[2]}" if version[2].startswith("cu") else ""
    if extension.name in ("torchvision", "torchaudio"):
        return installs(snapshot, extension.location, f"--force-reinstall torch=={version[0]} {extension.name}{index}")
    if extension.name == "vllm":
        return installs(
            snapshot, extension.location, f"--force-reinstall vllm=={extension.version} (it pins its torch)"
        )
    return installs(
        snapshot,
        extension.location,
        f"--force-reinstall --no-deps --no-cache-dir --no-build-isolation {extension.name}",
    )
