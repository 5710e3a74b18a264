"""Images in files: OCI layouts (a folder or a tar of it), and what ``docker save`` writes."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from gpucheck.images.manifest import (
    INDEXES,
    MAX_JSON,
    Platform,
    check_digest,
    config_digest,
    describe,
    find_manifest,
    media_type,
    parse_list,
    parse_object,
    sha256,
)
from gpucheck.images.records import Described, ImageError, Layer
from gpucheck.images.reference import parse_name
from gpucheck.images.source import file_pieces
from gpucheck.images.tar import Archive, TarError
from gpucheck.record import dataclass

#: Names in an archive of images: a few for each layer.
MAX_MEMBERS: Final = 20_000


class Files(Protocol):
    """The files of a layout, by their names in it."""

    path: str

    def read(self, name: str) -> bytes:
        """A small file. Raises ``ImageError``."""
        ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """A large one."""
        ...

    def has(self, name: str) -> bool:
        """Whether it is there."""
        ...


class Folder:
    """A layout that is unpacked."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, name: str) -> bytes:
        place = self._place(name)
        try:
            with open(place, "rb") as file:
                return _bounded(file.read(MAX_JSON + 1), f"{self.path}/{name}")
        except OSError as error:
            raise ImageError(f"{self.path}/{name}: {error.strerror}") from None

    def pieces(self, name: str) -> Iterator[bytes]:
        return file_pieces(self._place(name))

    def has(self, name: str) -> bool:
        return os.path.isfile(os.path.join(self.path, name))

    def _place(self, name: str) -> str:
        place = os.path.join(self.path, name)
        top = os.path.realpath(self.path)
        # A link in a layout that somebody else made must not lead to other files, nor to a pipe.
        if not os.path.realpath(place).startswith(f"{top}/") or not os.path.isfile(place):
            raise ImageError(f"{self.path}: has no file {name}")
        return place


class TarFile:
    """A layout in an archive that is a file without compression: members are read where they are."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        try:
            with open(path, "rb", buffering=1 << 16) as file:
                self._scan(file)
        except OSError as error:
            raise ImageError(f"{path}: {error.strerror}") from None
        except TarError as error:
            raise ImageError(f"{path}: not a sound archive: {error}") from None

    def _scan(self, file: Any) -> None:
        archive = Archive(iter(lambda: file.read(1 << 16), b""), seek=file.seek)
        for entry in archive:
            name = posixpath.normpath(entry.name)
            if entry.kind == "file" and not entry.sparse:
                self._members[name] = (archive.stream.position, entry.size)
            elif entry.kind in ("link", "hard link"):
                # docker save of 20.10 writes a layer that it has written already as a link to it.
                above = posixpath.dirname(name) if entry.kind == "link" else ""
                self._links[name] = posixpath.normpath(posixpath.join(above, entry.link))
            if len(self._members) + len(self._links) > MAX_MEMBERS:
                raise ImageError(f"{self.path}: more than {MAX_MEMBERS} members are not those of an image")

    def read(self, name: str) -> bytes:
        start, size = self._member(name)
        if size > MAX_JSON:
            raise ImageError(f"{self.path}: {name} is larger than {MAX_JSON >> 20} MB: it is not read")
        return b"".join(file_pieces(self.path, start, size))

    def pieces(self, name: str) -> Iterator[bytes]:
        return file_pieces(self.path, *self._member(name))

    def has(self, name: str) -> bool:
        return name in self._members or name in self._links

    def _member(self, name: str) -> tuple[int, int]:
        wanted = posixpath.normpath(name)
        for _ in range(8):
            if wanted not in self._links:
                break
            wanted = self._links[wanted]
        if wanted not in self._members:
            raise ImageError(f"{self.path}: has no file {name[:200]}")
        return self._members[wanted]


def _bounded(data: bytes, what: str) -> bytes:
    if len(data) > MAX_JSON:
        raise ImageError(f"{what} is larger than {MAX_JSON >> 20} MB: it is not read")
    return data


class Layout:
    """An image in an OCI layout: https://github.com/opencontainers/image-spec/blob/main/image-layout.md"""

    def __init__(self, files: Files, reference: str, tag: str, platform: Platform | None) -> None:
        self._files = files
        self._reference = reference
        self._tag = tag
        self._platform = platform

    def describe(self) -> Described:
        index = parse_object(self._files.read("index.json"), f"{self._files.path}/index.json")
        index = {**index, "manifests": self._tagged(index)}
        # A layout of one image says nothing of its platform; its config does.
        only = index["manifests"][0] if len(index["manifests"]) == 1 else None
        if only is not None and media_type(index) in INDEXES:
            digest = check_digest(only.get("digest"), f"{self._files.path}/index.json")
            data = self._blob(digest)
            manifest = find_manifest(data, str(only.get("mediaType", "")), self._platform, self._blob, digest)
        else:
            import json

            manifest = find_manifest(json.dumps(index).encode(), INDEXES[0], self._platform, self._blob)
        config = self._blob(config_digest(manifest.document))
        return describe(self._reference, manifest, config, self._platform)

    def layer(self, layer: Layer) -> Iterator[bytes]:
        return self._files.pieces(_blob_name(layer.digest))

    def close(self) -> None:
        pass

    def _tagged(self, index: Mapping[str, Any]) -> list[dict[str, Any]]:
        entries = index.get("manifests")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not entries:
            raise ImageError(f"{self._files.path}: the layout has no image")
        if not self._tag:
            return entries
        names = [_names(entry) for entry in entries]
        found = [entry for entry, known in zip(entries, names) if self._tag in known]
        if not found:
            known = ", ".join(sorted({name for each in names for name in each})[:20])
            raise ImageError(
                f"{self._files.path}: no image {self._tag!r}; there are: {known or 'only ones without a name'}"
            )
        return found

    def _blob(self, digest: str) -> bytes:
        data = self._files.read(_blob_name(digest))
        if sha256(data) != digest:
            raise ImageError(f"{self._files.path}: {digest} is {sha256(data)}: it is damaged or was changed")
        return data


def _names(entry: Mapping[str, Any]) -> tuple[str, ...]:
    annotations = entry.get("annotations")
    said = annotations if isinstance(annotations, dict) else {}
    keys = ("org.opencontainers.image.ref.name", "io.containerd.image.name")
    return (*(str(said[key]) for key in keys if key in said), str(entry.get("digest", "")))


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/', 1)}"


class Saved:
    """An image in an archive of ``docker save``: manifest.json names its config and its layers.

    https://github.com/moby/docker-image-spec/blob/main/spec.md, "Combined Image JSON + Filesystem Changeset Format". Newer
    engines write an OCI layout with the same manifest.json beside it.
    """

    def __init__(self, files: Files, reference: str, tag: str, platform: Platform | None) -> None:
        self._files = files
        self._reference = reference
        self._tag = tag
        self._platform = platform
        self._places: dict[str, str] = {}

    def describe(self) -> Described:
        document = self._files.read("manifest.json")
        image = choose_saved(parse_list(document, "manifest.json"), self._tag, self._files.path)
        config = self._files.read(image.config)
        described = describe(self._reference, None, config, self._platform, sha256(config))
        if len(image.layers) != len(described.layers):
            raise ImageError(f"manifest.json has {len(image.layers)} layers and the config {len(described.layers)}")
        self._places = dict(zip((layer.diff_id for layer in described.layers), image.layers))
        return described

    def layer(self, layer: Layer) -> Iterator[bytes]:
        return self._files.pieces(self._places[layer.diff_id])

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class SavedImage:
    """An entry of manifest.json."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]


def choose_saved(entries: list[Any], tag: str, path: str) -> SavedImage:
    """The image of a name in manifest.json, or the only one. Raises ``ImageError``."""
    images = []
    for entry in entries:
        layers = entry.get("Layers") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str) or not isinstance(layers, list):
            raise ImageError(f"{path}: manifest.json is not as docker save writes it")
        tags = entry.get("RepoTags")
        images.append(
            SavedImage(
                entry["Config"],
                tuple(map(str, layers)),
                tuple(map(str, tags)) if isinstance(tags, list) else (),
            )
        )
    if tag:
        wanted = {tag, str(parse_name(tag))}
        found = [
            image
            for image in images
            if wanted & {name for each in image.tags for name in (each, str(parse_name(each)))}
        ]
    else:
        found = images
    if len(found) == 1:
        return found[0]
    known = ", ".join(sorted(name for image in images for name in image.tags)[:20]) or "none with a name"
    problem = f"no image {tag!r}" if tag else f"{len(images)} images" if images else "no image"
    raise ImageError(f"{path}: {problem}; there are: {known}; choose one: docker-archive:{path}:NAME")
