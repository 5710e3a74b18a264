"""Archives of ``docker save`` that can only be read from start to end: from an engine, or compressed in a file."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from itertools import chain

from gpucheck.images.archive import choose_saved
from gpucheck.images.compression import GZIP, ZSTD, decompress
from gpucheck.images.manifest import MAX_JSON, Platform, describe, parse_list, sha256
from gpucheck.images.records import Described, ImageError
from gpucheck.images.source import file_pieces
from gpucheck.images.tar import Archive, TarError


def layers_of(pieces: Iterator[bytes], documents: dict[str, bytes] | None = None) -> Iterator[Iterator[bytes]]:
    """The layers in an archive as they come; they are told from documents by how they begin.

    ``documents``: takes the small files by name. Raises ``ImageError``.
    """
    archive = Archive(pieces)
    try:
        for entry in archive:
            if entry.kind != "file" or entry.sparse or not entry.size:
                continue
            name = posixpath.normpath(entry.name)
            data = archive.data()
            first = next(data, b"")
            if name.endswith("/layer.tar") or (name.startswith("blobs/") and not first.lstrip().startswith(b"{")):
                if documents is None:
                    yield chain((first,), data)
            elif documents is not None and entry.size <= MAX_JSON and len(documents) < 2000:
                documents[name] = first + b"".join(data)
        archive.stream.drain()
    except TarError as error:
        raise ImageError(f"not a sound archive: {error}") from None


def is_compressed(path: str) -> bool:
    """Whether a file is an archive that has to be decompressed first."""
    try:
        with open(path, "rb") as file:
            return file.read(4).startswith((GZIP, ZSTD))
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from None


class CompressedArchive:
    """``docker save NAME | gzip``."""

    def __init__(self, path: str, reference: str, tag: str, platform: Platform | None) -> None:
        self._path = path
        self._reference = reference
        self._tag = tag
        self._platform = platform

    def describe(self) -> Described:
        documents: dict[str, bytes] = {}
        for _ in layers_of(decompress(file_pieces(self._path)), documents):
            pass
        if "manifest.json" not in documents:
            raise ImageError(f"{self._path}: not an archive of docker save; decompress an OCI layout before")
        image = choose_saved(parse_list(documents["manifest.json"], "manifest.json"), self._tag, self._path)
        config = documents.get(posixpath.normpath(image.config))
        if config is None:
            raise ImageError(f"{self._path}: has no file {image.config[:200]}")
        return describe(self._reference, None, config, self._platform, sha256(config))

    def layers(self) -> Iterator[Iterator[bytes]]:
        return layers_of(decompress(file_pieces(self._path)))

    def close(self) -> None:
        pass
