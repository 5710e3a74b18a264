"""What is known of a base image by its name alone."""

from __future__ import annotations

import re
from datetime import date
from functools import cache

from gpucheck import kb
from gpucheck.record import dataclass
from gpucheck.versions import CudaVersion, DriverVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class OurImage(kb.Row):
    """A row of our own images."""

    name: str
    family: str
    """``wheels``: no CUDA library in it; ``toolkit``: they are in it."""
    gpu: bool
    cuda: str
    """The CUDA major of the wheels that belong on it; '' for the CPU."""
    driver_floor: str
    """The oldest driver that the image promises to run on."""
    python: str
    eol: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Base(kb.Row):
    """A public image without CUDA."""

    repository: str
    libc: str
    python: str


@cache
def ours() -> tuple[OurImage, ...]:
    """Our own images."""
    return kb.load("images", "image", OurImage)


@cache
def bases() -> tuple[Base, ...]:
    """Public images without CUDA."""
    return kb.load("images", "base", Base)


@dataclass(frozen=True, slots=True)
class Reference:
    """An image's name in its parts: ``[registry/]repository[:tag][@digest]``."""

    repository: str
    """With the registry, without the names that Docker Hub has for itself."""
    tag: str
    digest: str

    @property
    def pinned(self) -> bool:
        """Whether it names a version: a digest, or a tag with a number in it."""
        return bool(self.digest) or any(char.isdigit() for char in self.tag)


def parse_reference(text: str) -> Reference:
    """https://pkg.go.dev/github.com/distribution/reference: a colon after the last slash starts the tag."""
    name, _, digest = text.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    repository = re.sub(r"^(?:(?:index\.|registry-1\.)?docker\.io/)?(?:library/)?", "", head + slash + last)
    return Reference(repository, tag, digest)


@dataclass(frozen=True, slots=True)
class Image:
    """A recognised base image."""

    reference: str
    kind: str
    """``ours``, ``cuda`` (nvidia/cuda) or ``plain``."""
    gpu: bool | None
    """Made for GPUs; None: it says nothing of it."""
    cuda_major: int | None
    cuda: CudaVersion | None
    """The version of the toolkit in it."""
    flavour: str
    """Of nvidia/cuda: ``base``, ``runtime`` or ``devel``."""
    libc: str
    python: str
    """``3.13``, where the name tells."""
    driver_floor: DriverVersion | None
    eol: date | None
    evidence: str
    """The row or the rule that tells."""

    @property
    def title(self) -> str:
        """``CUDA 13 from wheels``: what it is, in a few words."""
        if self.kind == "ours":
            return f"for wheels with CUDA {self.cuda_major}" if self.gpu else "for the CPU"
        if self.kind == "cuda":
            return f"CUDA {self.cuda or '(version unknown)'} toolkit" + (f", {self.flavour}" if self.flavour else "")
        return f"{self.libc}, no CUDA"


#: <cuda>-[cudnn-]<flavour>-<distribution>; cuDNN had its number in the name up to 12.3.
#: https://gitlab.com/nvidia/container-images/cuda/-/blob/master/doc/supported-tags.md
NVIDIA_TAG = r"(\d+\.\d+)(?:\.\d+)?-(?:cudnn\d*-|tensorrt-)?(base|runtime|devel)\b.*"


def recognise(text: str) -> Image | None:
    """What is known of an image; None for an image that nothing is known of."""
    reference = parse_reference(text)
    match = re.fullmatch(r"(?:.+/)?gpu-capable/([\w.-]+)", reference.repository)
    if match:
        return next((_our(text, row) for row in ours() if row.name == match[1]), None)
    if re.fullmatch(r"(?:.+/)?nvidia/cuda", reference.repository):
        tag = re.fullmatch(NVIDIA_TAG, reference.tag)
        cuda = CudaVersion.parse(tag[1]) if tag else None
        return Image(
            text, "cuda", True, cuda.major if cuda else None, cuda, tag[2] if tag else "", "glibc", "", None, None,
            "the tags of nvidia/cuda name CUDA and flavour",
        )  # fmt: skip
    for row in bases():
        if re.fullmatch(rf"(?:.+/library/)?{re.escape(row.repository)}", reference.repository):
            libc = "musl" if "alpine" in reference.tag else row.libc
            python = re.match(row.python, reference.tag) if row.python else None
            return Image(
                text, "plain", None, None, None, "", libc, python[1] if python else "", None, None, row.reference
            )
    return None


def _our(text: str, row: OurImage) -> Image:
    return Image(
        text, "ours", row.gpu, int(row.cuda) if row.cuda else None, None, "", "glibc", row.python,
        DriverVersion.parse(row.driver_floor), row.eol, f"our image {row.name}; {row.reference}",
    )  # fmt: skip
