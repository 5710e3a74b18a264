"""What is known of an image beside its files."""

from __future__ import annotations

from collections.abc import Mapping

from gpucheck.record import dataclass


class ImageError(Exception):
    """An image that is not there, may not be read, or is not what it says. ``str()`` is one line with the next step."""


@dataclass(frozen=True, slots=True)
class Config:
    """How the image is to be run: the OCI image specification, config.md."""

    env: Mapping[str, str]
    labels: Mapping[str, str]
    user: str
    """'' is root."""
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    working_directory: str


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, the lowest first."""

    digest: str
    """Of what is stored, ``sha256:...``; that of the content where it is stored without compression or not known."""
    diff_id: str
    """Of the content without compression."""
    media_type: str
    size: int | None
    """Bytes as stored; None where the place does not tell (a Docker Engine)."""
    unpacked: int | None
    """Bytes of the files in it; None when it was not read."""
    created_by: str
    """The command of the build, from the image's history; '' where that does not tell."""


@dataclass(frozen=True, slots=True)
class Described:
    """What manifest and config tell, before any layer is read."""

    reference: str
    digest: str
    """Of the manifest (of the image's own, where an index names many); '' for a folder."""
    architecture: str
    """In the words of images: ``amd64``, ``arm64``."""
    os: str
    config: Config
    layers: tuple[Layer, ...]
