"""From the bytes of a layer, as they stream by, to its index."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from mmap import mmap
from typing import Any, BinaryIO, Final, Protocol

from gpucheck.elf.reader import ElfError
from gpucheck.images.capture import Capture, make_room
from gpucheck.images.compression import decompress
from gpucheck.images.index import Writer
from gpucheck.images.keeping import MAX_TEXTS, kept_bytes, searched_words
from gpucheck.images.records import ImageError
from gpucheck.images.tar import Archive, Entry, TarError

#: Files in an image, and bytes of their names: a million empty files are indexed in 200 MB of memory.
MAX_NAMES: Final = 1_000_000
MAX_NAMES_TEXT: Final = 128 << 20
#: Kept parts of one layer, compressed.
MAX_KEPT: Final = 512 << 20
#: A layer that unpacks to more than this is refused when it is a hundred times as large as its compressed form.
BOMB: Final = 4 << 30
BOMB_RATIO: Final = 100
MAX_PATH: Final = 4096
#: Pieces that are decompressed ahead, of at most 1 MB each.
AHEAD: Final = 16
#: Smaller files hold no GPU code.
MIN_CODE: Final = 4096

#: docs: https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
WHITEOUT: Final = ".wh."
OPAQUE: Final = ".wh..wh..opq"
#: Other names of this form are aufs's own: Docker passes over them.
META: Final = ".wh..wh."


class Scanner(Protocol):
    """Takes an ELF file in pieces and says what GPU code is in it."""

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        ...

    def targets(self, passing: Iterable[tuple[int, int]] = ()) -> tuple[Any, ...]:
        """What was found, as JSON. ``passing``: (offset, size) of the parts of the file that do not count."""
        ...


def index_layer(
    pieces: Iterable[bytes],
    file: BinaryIO,
    *,
    digest: str = "",
    diff_id: str = "",
    names: int = 0,
    scanner: Callable[[], Scanner] | None = None,
) -> str:
    """Index a layer into a file; returns the digest of its content. Raises ``ImageError``.

    ``digest``: what the bytes must have as they come, ``diff_id``: what their content must have; '' is not compared.
    ``names``: how many files the layers before have.
    """
    counted = _Counted(pieces)
    content = hashlib.sha256()
    writer = Writer(file)
    ahead = _ahead(decompress(counted))
    try:
        archive = Archive(_bounded(_hashed(ahead, content), counted))
        with make_room() as room:
            _members(archive, writer, names, scanner, room)
        archive.stream.drain()
    except TarError as error:
        raise ImageError(f"not a sound layer: {error}") from None
    finally:
        ahead.close()
    for said, found, what in ((digest, counted.digest(), "its digest"), (diff_id, _name(content), "its content")):
        if said and said != found:
            raise ImageError(f"{what} is {found}, not {said} as the image says: it is damaged or was changed")
    writer.finish()
    return _name(content)


def _name(digest: Any) -> str:
    return f"sha256:{digest.hexdigest()}"


class _Counted:
    """Counts and digests what passes."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self._digest = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.size += len(piece)
            self._digest.update(piece)
            yield piece

    def digest(self) -> str:
        return _name(self._digest)


def _hashed(pieces: Iterable[bytes], digest: Any) -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def _bounded(pieces: Iterable[bytes], compressed: _Counted) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > BOMB and total > compressed.size * BOMB_RATIO:
            raise ImageError(
                f"unpacks to more than {BOMB_RATIO} times its size and {BOMB >> 30} GB: a decompression bomb is not read"
            )
        yield piece


def _ahead(pieces: Iterator[bytes]) -> Any:
    """The same, decompressed in a thread: zlib and hashlib let another one run meanwhile."""
    waiting: queue.Queue[bytes | BaseException | None] = queue.Queue(AHEAD)
    stopped = threading.Event()

    def put(item: bytes | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def run() -> None:
        try:
            for piece in pieces:
                put(piece)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    def take() -> Iterator[bytes]:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            while (item := waiting.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stopped.set()
            thread.join()

    return take()


def _members(archive: Archive, writer: Writer, names: int, scanner: Callable[[], Scanner] | None, room: mmap) -> None:
    texts = 0
    for entry in archive:
        path = clean(entry.name, "an entry")
        if entry.kind == "hard link":
            entry.link = clean(entry.link, "a hard link")
        folder, _, name = path.rpartition("/")
        if name.startswith(WHITEOUT):
            if name == OPAQUE:
                writer.opaque.append(folder)
            elif not name.startswith(META):
                hidden = name.removeprefix(WHITEOUT)
                if hidden in ("", ".", ".."):
                    raise ImageError(f"not a sound layer: {path!r} hides no file")
                writer.whiteouts.append(f"{folder}/{hidden}" if folder else hidden)
            continue
        if path.startswith(META):
            continue
        writer.add(path, entry)
        if names + writer.names > MAX_NAMES or writer.text > MAX_NAMES_TEXT:
            raise ImageError(f"more than {MAX_NAMES} files, or {MAX_NAMES_TEXT >> 20} MB of names: it is not read")
        if entry.kind == "file" and entry.size and not entry.sparse:
            texts += _content(archive, writer, path, entry, scanner, room, texts < MAX_TEXTS)


def clean(path: str, what: str) -> str:
    """A path below the root without its leading slash; '' is the root. Raises ``ImageError`` when it leads outside."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                # Docker and containerd refuse these too.
                raise ImageError(f"not a sound layer: {what} {path[:200]!r} leads out of the image")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if len(path) > MAX_PATH:
        raise ImageError(f"not a sound layer: a path of {len(path)} characters")
    return "/".join(parts)


def _content(
    archive: Archive,
    writer: Writer,
    path: str,
    entry: Entry,
    scanner: Callable[[], Scanner] | None,
    room: mmap,
    texts: bool,
) -> int:
    """Take in what is kept of a file; how many bytes of text that was."""
    data = archive.data()
    first = b""
    for piece in data:
        first += piece
        if len(first) >= 4:
            break
    keep = kept_bytes(path)
    if first[:4] != b"\x7fELF":
        if not keep or not texts:
            return 0
        start = bytearray(first[:keep])
        while len(start) < min(keep, entry.size) and (piece := next(data, b"")):
            start += piece[: keep - len(start)]
        writer.keep([(0, bytes(start))], False, [], ())
        return len(start)
    words = searched_words(path.rpartition("/")[2])
    capture = Capture(entry.size, room, words)
    codes = scanner() if scanner and entry.size >= MIN_CODE else None
    for piece in chain((first,), data):
        capture.feed(piece)
        if codes:
            codes.feed(piece)
    if writer.kept < MAX_KEPT:
        try:
            parts = capture.finish(f"/{path}", keep)
        except ElfError:
            parts = []
        writer.keep(parts, bool(words), capture.hits, codes.targets(capture.unlinked(f"/{path}")) if codes else ())
    return 0
