"""The names of images: how it is told apart where one is, and the grammar of names in a registry.

The schemes are those of skopeo (containers-transports(5)), with a shorter ``registry:`` beside ``docker://``.
"""

from __future__ import annotations

import re
from typing import Final

from gpucheck.images.records import ImageError
from gpucheck.record import dataclass

SCHEMES: Final = ("docker", "registry", "oci", "oci-archive", "docker-archive", "dir")
#: The registry behind names without one, and where its API really is.
DOCKER_HUB: Final = "docker.io"

# https://github.com/distribution/reference/blob/main/regexp.go
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_REFERENCE: Final = re.compile(
    rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
MAX_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class Name:
    """An image's name in a registry."""

    registry: str
    """Host and port."""
    repository: str
    tag: str
    """'' when only a digest is given."""
    digest: str

    @property
    def version(self) -> str:
        """What the registry is asked for: the digest, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return (
            f"{self.registry}/{self.repository}"
            + (f":{self.tag}" if self.tag else "")
            + (f"@{self.digest}" if self.digest else "")
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """What was typed, taken apart."""

    text: str
    scheme: str
    """One of ``SCHEMES``; '' when it has to be guessed."""
    rest: str


def parse(text: str) -> Reference:
    """Take the scheme off, if there is one. Raises ``ImageError`` for an empty name."""
    scheme, colon, rest = text.partition(":")
    if text.startswith("docker://"):
        scheme, rest = "registry", text.removeprefix("docker://")
    elif not colon or scheme not in SCHEMES:
        scheme, rest = "", text
    elif scheme == "registry":
        rest = rest.removeprefix("//")
    if not rest:
        raise ImageError(f"{text!r} names no image; name one such as debian:trixie-slim, or a file or folder")
    return Reference(text, scheme, rest)


def parse_name(text: str) -> Name:
    """A name in a registry, completed as ``docker pull`` does. Raises ``ImageError``.

    The rules are ``ParseDockerRef`` and ``splitDockerDomain`` of distribution/reference: the first part is a registry when
    it has a dot, a colon or a capital letter, or is ``localhost``; names of one part are Docker Hub's own images.
    """
    first, slash, rest = text.partition("/")
    is_domain = bool(slash) and (any(char in first for char in ".:[") or first == "localhost" or first.lower() != first)
    registry, remainder = (first, rest) if is_domain else (DOCKER_HUB, text)
    if registry == "index.docker.io":
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in remainder:
        remainder = f"library/{remainder}"
    found = _REFERENCE.fullmatch(f"{registry}/{remainder}")
    if found is None or not found["domain"]:
        why = "; names are in lower case" if remainder.partition(":")[0] != remainder.partition(":")[0].lower() else ""
        raise ImageError(f"{text}: not a name of an image, such as registry.example.com/team/image:tag{why}")
    if len(found["path"]) > MAX_NAME:
        raise ImageError(f"{text[:60]}...: a name of more than {MAX_NAME} characters")
    digest = found["digest"] or ""
    if digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ImageError(f"{text}: the digest is not a sha256 of 64 hexadecimal digits")
    # With a digest the tag says nothing: docker pull ignores it too.
    return Name(registry, found["path"], found["tag"] or ("" if digest else "latest"), digest)
