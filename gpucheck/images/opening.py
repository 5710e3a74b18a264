"""From the name of an image to its files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from gpucheck.elf.fatbin import FatbinScanner
from gpucheck.images.cache import Cache, default_folder
from gpucheck.images.index import Index
from gpucheck.images.indexing import Scanner, index_layer
from gpucheck.images.manifest import ARCHITECTURES, Platform, parse_platform
from gpucheck.images.records import Config, Described, ImageError
from gpucheck.images.reference import Reference, parse
from gpucheck.images.source import Layered, Source, Stream
from gpucheck.images.system import ImageSystem
from gpucheck.images.union import Union
from gpucheck.record import replace
from gpucheck.system import Rootfs, System

#: What looks for GPU code in the files that stream by.
SCANNER: Callable[[], Scanner] = FatbinScanner
NOTHING: Final = Config({}, {}, "", (), (), "")


class Image:
    """An opened image. Close it, or use it in a ``with``."""

    def __init__(
        self, described: Described, system: System, union: Union | None = None, indexes: Sequence[Index] = ()
    ) -> None:
        self.reference = described.reference
        self.digest = described.digest
        """Of the manifest; '' for a folder."""
        self.architecture = described.architecture
        self.os = described.os
        self.config = described.config
        self.layers = described.layers
        self.system = system
        self._union = union
        self._indexes = indexes

    def layer_of(self, path: str) -> int | None:
        """The number of the layer that a file is from, counted from 0; None in a folder. Raises ``OSError``."""
        return self.system.layer_of(path) if isinstance(self.system, ImageSystem) else None

    def codes(self, path: str) -> tuple[Any, ...] | None:
        """What the scanner of GPU code saw in a file as it streamed by; None when it did not stream by."""
        if not isinstance(self.system, ImageSystem):
            return None
        content = self.system.content(path)
        return content.codes if content else None

    def close(self) -> None:
        """Let go of the kept parts of files."""
        for index in self._indexes:
            index.close()

    def __enter__(self) -> Image:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_image(
    reference: str,
    *,
    platform: str | None = None,
    env: Mapping[str, str] | None = None,
    progress: Callable[[str, int, int | None], None] | None = None,
    cache: bool = True,
    plain_http: bool = False,
    surroundings: Mapping[str, str] | None = None,
) -> Image:
    """Open an image and index its layers. Raises ``ImageError``.

    ``env``: variables over those of the image. ``progress``: called with what is done, bytes done and bytes in all.
    ``surroundings``: the environment that says where engines, credentials and the cache are; default: this process's.
    """
    around = os.environ if surroundings is None else surroundings
    where = parse(reference)
    wanted = parse_platform(platform) if platform else None
    if (folder := _folder(where)) is not None:
        return _open_folder(where, folder, env or {})
    source = find_source(where, wanted, around, plain_http)
    try:
        described = source.describe()
        indexes = _indexes(source, described, Cache(default_folder(around) if cache else None), progress)
    except ImageError as error:
        raise ImageError(_named(where, error)) from None
    finally:
        source.close()
    union = Union()
    layers = []
    try:
        for number, (layer, index) in enumerate(zip(described.layers, indexes)):
            union.apply(index, number)
            layers.append(replace(layer, unpacked=index.unpacked))
            if all(later is not index for later in indexes[number + 1 :]):
                index.forget()
    except ImageError as error:
        for index in indexes:
            index.close()
        raise ImageError(_named(where, error)) from None
    system = ImageSystem(union, indexes, {**described.config.env, **(env or {})}, reference)
    return Image(replace(described, layers=tuple(layers)), system, union, indexes)


def read_config(
    reference: str,
    *,
    platform: str | None = None,
    plain_http: bool = False,
    surroundings: Mapping[str, str] | None = None,
) -> Described:
    """Manifest and config alone; no layer is read. Raises ``ImageError``."""
    around = os.environ if surroundings is None else surroundings
    where = parse(reference)
    wanted = parse_platform(platform) if platform else None
    if _folder(where) is not None:
        raise ImageError(f"{reference}: a folder of files has no config and no labels")
    source = find_source(where, wanted, around, plain_http)
    try:
        return source.describe()
    except ImageError as error:
        raise ImageError(_named(where, error)) from None
    finally:
        source.close()


def _named(where: Reference, error: ImageError) -> str:
    text = str(error)
    return text if text.startswith(where.rest) else f"{where.text}: {text}"


def find_source(
    where: Reference, platform: Platform | None, around: Mapping[str, str], plain_http: bool = False
) -> Source:
    """Where an image is. Without a scheme: a file or folder, else the engine when it has it, else the registry."""
    if where.scheme in ("oci", "oci-archive", "docker-archive"):
        path, tag = split_path(where)
        return _of_file(where.scheme, path, where.text, tag, platform)
    if where.scheme == "" and (kind := kind_of_path(where.rest)):
        return _of_file(kind, where.rest, where.text, "", platform)
    from gpucheck.images.engine import Engine
    from gpucheck.images.reference import parse_name

    note = ""
    if where.scheme != "registry":
        engine = Engine(where.rest, where.text, platform, around)
        if where.scheme == "docker" or engine.has_image():
            return engine
        engine.close()
        note = f"; and {engine.trouble}" if engine.trouble else ""
    from gpucheck.images.registry import Registry

    return Registry(parse_name(where.rest), where.text, platform, around, plain_http, note)


def split_path(where: Reference) -> tuple[str, str]:
    """PATH[:NAME], as skopeo has it. Raises ``ImageError`` when there is no such path."""
    path, tag = where.rest, ""
    if not os.path.exists(path):
        path, _, tag = where.rest.partition(":")
    if not os.path.exists(path):
        raise ImageError(f"{where.text}: there is no file or folder {path}")
    return path, tag


def kind_of_path(path: str) -> str:
    """The scheme for a path by what is there; '' when nothing is, or a folder that is neither a layout nor a root."""
    from gpucheck.images.archive import TarFile
    from gpucheck.images.compression import GZIP, ZSTD

    if os.path.isdir(path):
        if os.path.isfile(os.path.join(path, "index.json")):
            return "oci"
        is_root = any(os.path.isdir(os.path.join(path, name)) for name in ("etc", "usr", "bin", "lib"))
        return "dir" if is_root or path.startswith(("/", "./", "../")) or path in (".", "..") else ""
    if not os.path.isfile(path):
        return ""
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from None
    if start.startswith((GZIP, ZSTD)):
        return "docker-archive"
    if start[257:262] == b"ustar":
        files = TarFile(path)
        if files.has("manifest.json"):
            return "docker-archive"
        if files.has("index.json"):
            return "oci-archive"
    raise ImageError(
        f"{path}: neither an archive of docker save nor an OCI layout; for an unpacked root name its folder"
    )


def _of_file(kind: str, path: str, reference: str, tag: str, platform: Platform | None) -> Source:
    from gpucheck.images.archive import Folder, Layout, Saved, TarFile
    from gpucheck.images.stream import CompressedArchive, is_compressed

    if kind == "oci" and os.path.isdir(path):
        return Layout(Folder(path), reference, tag, platform)
    if os.path.isdir(path):
        raise ImageError(f"{path}: is a folder; an OCI layout in a folder is oci:{path}, an unpacked root dir:{path}")
    if is_compressed(path):
        return CompressedArchive(path, reference, tag, platform)
    files = TarFile(path)
    if kind == "docker-archive":
        return Saved(files, reference, tag, platform)
    return Layout(files, reference, tag, platform)


def _folder(where: Reference) -> str | None:
    if where.scheme == "dir":
        return where.rest
    return where.rest if where.scheme == "" and kind_of_path(where.rest) == "dir" else None


def _open_folder(where: Reference, folder: str, env: Mapping[str, str]) -> Image:
    from gpucheck.probes.host import architecture

    try:
        system = Rootfs(folder, env)
    except OSError as error:
        raise ImageError(f"{where.text}: {error.strerror}") from None
    machine = architecture(system)
    return Image(Described(where.text, "", ARCHITECTURES.get(machine, machine), "linux", NOTHING, ()), system)


def _indexes(
    source: Source, described: Described, cache: Cache, progress: Callable[[str, int, int | None], None] | None
) -> list[Index]:
    """The index of each layer, from the cache or made now."""
    known: dict[str, Index] = {}
    try:
        for layer in described.layers:
            if layer.diff_id not in known and (index := cache.find(layer.diff_id)) is not None:
                known[layer.diff_id] = index
        wanted = {layer.diff_id for layer in described.layers} - known.keys()
        if not wanted:
            pass
        elif isinstance(source, Stream):
            for number, pieces in enumerate(source.layers(), 1):
                watched = _watched(pieces, progress, f"layer {number}", None)
                _index(known, cache, watched, "", "", None)
        elif isinstance(source, Layered):
            for number, layer in enumerate(described.layers, 1):
                if layer.diff_id in known:
                    continue
                what = f"layer {number} of {len(described.layers)}"
                watched = _watched(source.layer(layer), progress, what, layer.size)
                try:
                    _index(known, cache, watched, layer.digest if layer.media_type else "", layer.diff_id, layer.size)
                except ImageError as error:
                    raise ImageError(f"{what} ({layer.digest[:19]}): {error}") from None
        if lost := next((layer.diff_id for layer in described.layers if layer.diff_id not in known), None):
            raise ImageError(f"there is no layer whose content is {lost}, which the image's config names")
    except BaseException:
        for index in known.values():
            index.close()
        raise
    return [known[layer.diff_id] for layer in described.layers]


def _index(
    known: dict[str, Index], cache: Cache, pieces: Iterator[bytes], digest: str, diff_id: str, size: int | None
) -> None:
    names = sum(index.names for index in known.values())
    made, index = cache.make(
        lambda file: index_layer(
            _sized(pieces, size), file, digest=digest, diff_id=diff_id, names=names, scanner=SCANNER
        )
    )
    if made in known:
        index.close()
    else:
        known[made] = index


def _sized(pieces: Iterator[bytes], size: int | None) -> Iterator[bytes]:
    """The same, refused when it is longer than the manifest says."""
    total = 0
    for piece in pieces:
        total += len(piece)
        if size is not None and total > size:
            raise ImageError(f"is larger than the {size} bytes that the manifest says")
        yield piece


def _watched(
    pieces: Iterator[bytes], progress: Callable[[str, int, int | None], None] | None, what: str, size: int | None
) -> Iterator[bytes]:
    if progress is None:
        return pieces

    def watched(told: Callable[[str, int, int | None], None]) -> Iterator[bytes]:
        done = 0
        for piece in pieces:
            done += len(piece)
            told(what, done, size)
            yield piece

    return watched(progress)
