"""Manifests, indexes and configs: the OCI image specification, and Docker's schema 2 that it comes from."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from gpucheck.images.records import Config, Described, ImageError, Layer
from gpucheck.record import dataclass

#: What registries accept at most: distribution's maxManifestBodySize. Configs are bounded likewise.
MAX_JSON: Final = 4 << 20
MAX_LAYERS: Final = 1000
#: An index may name an index; two levels are all that is in use.
MAX_DEPTH: Final = 4

MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
CONFIGS: Final = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_OLD: Final = "application/vnd.docker.distribution.manifest.v1+"
_LAYERS: Final = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
)
#: ``uname -m`` and the names of images: https://go.dev/doc/install/source#environment
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "ppc64": "ppc64le", "i686": "386", "armv7l": "arm"}


@dataclass(frozen=True, slots=True)
class Platform:
    """For which machines."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def accepts(self, other: Platform) -> bool:
        """Whether an image for ``other`` is what is asked for."""
        return (self.os, self.architecture) == (other.os, other.architecture) and (
            not self.variant or not other.variant or self.variant == other.variant
        )


def parse_platform(text: str) -> Platform:
    """``linux/arm64``, ``linux/arm/v7``, ``arm64`` or ``aarch64``. Raises ``ImageError``."""
    parts = text.lower().split("/")
    if not all(re.fullmatch(r"[a-z0-9_.-]+", part) for part in parts) or len(parts) > 3:
        raise ImageError(f"--platform {text}: expected one such as linux/amd64 or linux/arm64")
    if len(parts) == 1:
        parts = ["linux", *parts]
    return Platform(parts[0], ARCHITECTURES.get(parts[1], parts[1]), *parts[2:])


def native_platform() -> Platform:
    """That of this machine."""
    machine = os.uname().machine
    return Platform("linux", ARCHITECTURES.get(machine, machine))


def sha256(data: bytes) -> str:
    """A digest in its usual form."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def check_digest(text: Any, where: str) -> str:
    """A sha256 digest. Raises ``ImageError`` for anything else; what is not hexadecimal could be a path."""
    if not isinstance(text, str) or not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise ImageError(f"{where}: expected a sha256 digest, not {str(text)[:80]!r}")
    return text


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object. Raises ``ImageError``."""
    found = _parse(data, what)
    if not isinstance(found, dict):
        raise ImageError(f"{what} is no JSON object")
    return found


def parse_list(data: bytes, what: str) -> list[Any]:
    """A JSON array. Raises ``ImageError``."""
    found = _parse(data, what)
    if not isinstance(found, list):
        raise ImageError(f"{what} is no JSON array")
    return found


def _parse(data: bytes, what: str) -> object:
    if len(data) > MAX_JSON:
        raise ImageError(f"{what} is larger than {MAX_JSON >> 20} MB: it is not read")
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError):
        raise ImageError(f"{what} is not JSON") from None
    return found


def media_type(document: Mapping[str, Any], said: str = "") -> str:
    """Of a manifest or index: as it says itself, as its sender says, or by what it has."""
    own = document.get("mediaType")
    if isinstance(own, str) and own:
        return own
    if said:
        return said
    return INDEXES[0] if "manifests" in document else MANIFESTS[0]


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image's own manifest."""

    digest: str
    document: Mapping[str, Any]


def find_manifest(
    data: bytes, said: str, platform: Platform | None, fetch: Callable[[str], bytes], digest: str = "", depth: int = 0
) -> Manifest:
    """The manifest for a platform, through indexes. ``fetch`` gives a manifest by digest. Raises ``ImageError``.

    ``platform``: None is that of this machine, or the only one that there is.
    """
    digest = digest or sha256(data)
    document = parse_object(data, "the manifest")
    kind = media_type(document, said.partition(";")[0].strip())
    if kind in MANIFESTS:
        return Manifest(digest, document)
    if kind not in INDEXES:
        old = "; it is of Docker's old schema 1: push it again with a newer engine" if kind.startswith(_OLD) else ""
        raise ImageError(f"a manifest of the unknown media type {kind[:100]!r}{old}")
    if depth >= MAX_DEPTH:
        raise ImageError(f"more than {MAX_DEPTH} indexes that name each other")
    chosen = choose(document, platform)
    wanted = check_digest(chosen.get("digest"), "the index")
    below = fetch(wanted)
    if sha256(below) != wanted:
        raise ImageError(f"the manifest {wanted} is {sha256(below)}: it is damaged or was changed")
    return find_manifest(below, str(chosen.get("mediaType", "")), platform, fetch, wanted, depth + 1)


def choose(index: Mapping[str, Any], platform: Platform | None) -> Mapping[str, Any]:
    """The entry of an index for a platform."""
    entries = index.get("manifests")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ImageError("the index names no manifests")
    images = [entry for entry in entries if _is_image(entry)]
    wanted = platform or native_platform()
    for entry in images:
        if (there := _platform(entry)) is not None and wanted.accepts(there):
            chosen: Mapping[str, Any] = entry
            return chosen
    if len(images) == 1 and (platform is None or _platform(images[0]) is None):
        only: Mapping[str, Any] = images[0]
        return only
    known = sorted({str(there) for entry in images if (there := _platform(entry))})
    raise ImageError(
        f"there is no image for {wanted}; there are: {', '.join(known[:20]) or 'none'}"
        + ("; choose one with --platform" if known else "")
    )


def _is_image(entry: Mapping[str, Any]) -> bool:
    # BuildKit's attestations: https://docs.docker.com/build/metadata/attestations/attestation-storage/
    annotations = entry.get("annotations")
    if isinstance(annotations, dict) and annotations.get("vnd.docker.reference.type") == "attestation-manifest":
        return False
    return entry.get("mediaType", MANIFESTS[0]) in (*MANIFESTS, *INDEXES)


def _platform(entry: Mapping[str, Any]) -> Platform | None:
    said = entry.get("platform")
    if not isinstance(said, dict):
        return None
    return Platform(str(said.get("os", "")), str(said.get("architecture", "")), str(said.get("variant") or ""))


def config_digest(manifest: Mapping[str, Any]) -> str:
    """Of the config that a manifest names. Raises ``ImageError`` when it is no container image."""
    config = manifest.get("config")
    if not isinstance(config, dict):
        raise ImageError("the manifest names no config")
    kind = str(config.get("mediaType", CONFIGS[0]))
    if kind not in CONFIGS:
        raise ImageError(f"not a container image: its config is of the media type {kind[:100]!r}")
    return check_digest(config.get("digest"), "the manifest's config")


def describe(
    reference: str, manifest: Manifest | None, config: bytes, platform: Platform | None = None, digest: str = ""
) -> Described:
    """What manifest and config tell. Without a manifest (an engine, an archive) layers are known by their content alone.

    Raises ``ImageError``.
    """
    document = parse_object(config, "the image's config")
    diff_ids = (document.get("rootfs") or {}).get("diff_ids") if isinstance(document.get("rootfs"), dict) else None
    if not isinstance(diff_ids, list):
        raise ImageError("the image's config names no layers (rootfs.diff_ids)")
    ids = [check_digest(each, "the image's config") for each in diff_ids]
    if len(ids) > MAX_LAYERS:
        raise ImageError(f"an image of {len(ids)} layers: more than {MAX_LAYERS} are not read")
    stored = _descriptors(manifest.document) if manifest else [("", each, None) for each in ids]
    if len(stored) != len(ids):
        raise ImageError(f"the manifest has {len(stored)} layers and the config {len(ids)}")
    own = Platform(
        str(document.get("os") or ""), str(document.get("architecture") or ""), str(document.get("variant") or "")
    )
    if platform is not None and not platform.accepts(own):
        raise ImageError(f"there is no image for {platform}; it is for {own}")
    commands = _history(document.get("history"), len(ids))
    return Described(
        reference,
        manifest.digest if manifest else digest,
        own.architecture,
        own.os,
        parse_config(document.get("config")),
        tuple(
            Layer(digest, diff_id, kind, size, None, command)
            for (kind, digest, size), diff_id, command in zip(stored, ids, commands)
        ),
    )


def _descriptors(manifest: Mapping[str, Any]) -> list[tuple[str, str, int | None]]:
    layers = manifest.get("layers")
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise ImageError(
            "the manifest names no layers" if not isinstance(layers, list) else f"more than {MAX_LAYERS} layers"
        )
    found: list[tuple[str, str, int | None]] = []
    for layer in layers:
        if not isinstance(layer, dict):
            raise ImageError("the manifest names a layer that is no descriptor")
        kind, size = str(layer.get("mediaType", "")), layer.get("size")
        if "foreign" in kind or "nondistributable" in kind:
            raise ImageError(
                f"a layer of the media type {kind[:100]!r} lies elsewhere (Windows, mostly): it is not read"
            )
        if kind not in _LAYERS:
            raise ImageError(f"a layer of the unknown media type {kind[:100]!r}")
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ImageError(f"a layer of the size {size!r:.40}")
        found.append((kind, check_digest(layer.get("digest"), "a layer"), size))
    return found


def _history(history: object, count: int) -> list[str]:
    """The command behind each layer; '' where the history does not fit the layers."""
    rows = history if isinstance(history, list) else []
    commands = [
        str(row.get("created_by") or "") for row in rows if isinstance(row, dict) and not row.get("empty_layer")
    ]
    return commands if len(commands) == count else [""] * count


def parse_config(config: object) -> Config:
    """The part of an image's config that says how it is run."""
    said: Mapping[str, Any] = config if isinstance(config, dict) else {}
    pairs = (text.partition("=") for text in _texts(said.get("Env")))
    labels = said.get("Labels")
    return Config(
        {name: value for name, _, value in pairs},
        {str(name): str(value) for name, value in labels.items()} if isinstance(labels, dict) else {},
        str(said.get("User") or ""),
        _texts(said.get("Entrypoint")),
        _texts(said.get("Cmd")),
        str(said.get("WorkingDir") or ""),
    )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()
