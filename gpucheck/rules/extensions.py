"""Compiled extensions of torch."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Framework, Snapshot
from gpucheck.finding import Complaint, Evidence, Severity
from gpucheck.installed import Loads
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
                f"{each.name} {each.version} needs {lost.soname}, which does not come with {name}",
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


@rule(Layer.FRAMEWORK)
def toolkit_of_other_major_than_torch(snapshot: Snapshot) -> Iterator[Complaint]:
    """CUDA_HOME has a toolkit of another CUDA major than torch: extensions cannot be compiled with it.

    torch's wheels run without any toolkit. To build an extension (flash-attn, deepspeed's operators, apex) torch asks nvcc in
    CUDA_HOME for its version and refuses another major: "The detected CUDA version (11.8) mismatches the version that was used to
    compile PyTorch (12.6)".

    Confirm: `$CUDA_HOME/bin/nvcc --version` against `torch.version.cuda`.
    Remedy: only where something is compiled: a toolkit of torch's major in CUDA_HOME.
    Reference: https://pytorch.org/docs/stable/cpp_extension.html
    """
    for name in ("CUDA_HOME", "CUDA_PATH"):
        home = (snapshot.variable(name) or "").rstrip("/")
        torch = next((each for each in snapshot.frameworks if each.name == "torch" and each.cuda), None)
        if not home or torch is None or torch.cuda is None:
            continue
        copies = [
            each
            for each in snapshot.libraries
            if each.soname.startswith("libcudart.so.") and each.path.startswith(f"{home}/")
        ]
        if not copies:
            raise CannotTell(f"no libcudart tells the version of the toolkit in {home}", (f"{home}/lib64",))
        major = copies[0].soname.removeprefix("libcudart.so.").partition(".")[0]
        if major.isdigit() and int(major) != torch.cuda.major:
            yield Complaint(
                Severity.NOTE,
                f"{name} has CUDA {major}, torch is for CUDA {torch.cuda}: extensions of torch cannot be compiled with it",
                "torch needs no toolkit to run; its build of extensions refuses one of another major.",
                (
                    Evidence(f"{name}={home}", "environment"),
                    Evidence(f"{copies[0].soname}", copies[0].path),
                    Evidence(f"torch {torch.version}", torch.evidence),
                ),
                f"Where extensions are compiled: install the toolkit {torch.cuda} and export {name}=/usr/local/cuda-{torch.cuda}",
            )
            return
