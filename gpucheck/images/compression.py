"""Undoing the compression of layers, piece by piece."""

from __future__ import annotations

import io
import shutil
import subprocess
import threading
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

from gpucheck.images.records import ImageError

#: Of the content, at most.
PIECE: Final = 1 << 20
#: A frame that asks for more memory is refused; zstd's own limit without --ultra --long is 8 MiB, RFC 8878 asks for as much.
MAX_WINDOW: Final = 64 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
#: A zstd stream may begin with skippable frames, as those of eStargz and zstd:chunked end with some: RFC 8878, 3.1.2.
_SKIPPABLE: Final = tuple(bytes((number, 0x2A, 0x4D, 0x18)) for number in range(0x50, 0x60))


def decompress(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The content, whatever compression its first bytes show. Raises ``ImageError`` for what is broken or unknown."""
    stream = iter(pieces)
    first = b""
    while len(first) < 6 and (piece := next(stream, b"")):
        first += piece
    rest = _chain(first, stream)
    if first.startswith(GZIP):
        return gunzip(rest)
    if first.startswith((ZSTD, *_SKIPPABLE)):
        return unzstd(rest)
    for magic, name in ((b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz")):
        if first.startswith(magic):
            raise ImageError(f"compressed with {name}, which no layer may be; build it again with gzip or zstd")
    return rest


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def gunzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """gzip, of as many members as there are (RFC 1952, 2.2: pigz and eStargz write more than one)."""
    inflate = zlib.decompressobj(31)
    within = False
    for piece in pieces:
        while piece:
            # Zeros between and after members are padding, as gzip(1) has it.
            if not within and not (piece := piece.lstrip(b"\0")):
                break
            within = True
            try:
                content = inflate.decompress(piece, PIECE)
            except zlib.error as error:
                raise ImageError(f"broken gzip data ({error})") from None
            if content:
                yield content
            piece = inflate.unconsumed_tail
            if inflate.eof:
                piece = inflate.unused_data
                inflate = zlib.decompressobj(31)
                within = False
    if within:
        raise ImageError("truncated gzip data")


def unzstd(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """zstd, by whatever there is: Python's own module (from 3.14), the package ``zstandard``, the program ``zstd``."""
    source = _Source(pieces)
    reader = _zstd_of_python(source) or _zstd_of_package(source)
    if reader is None:
        program = shutil.which("zstd")
        if program is None:
            raise ImageError(
                "compressed with zstd, which nothing here can read; install the program zstd, or: pip install zstandard"
            )
        yield from _through_program(program, pieces)
        return
    try:
        while content := reader.read(PIECE):
            yield content
    except (ImageError, OSError):
        raise
    except EOFError:
        raise ImageError("truncated zstd data") from None
    except Exception as error:
        # Both modules have an error class of their own.
        raise ImageError(f"broken zstd data ({error})") from None


class _Source(io.RawIOBase):
    """An iterator of byte strings as a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def _zstd_of_python(source: _Source) -> Any:
    try:
        from compression.zstd import ZstdFile
    except ImportError:
        return None
    return ZstdFile(source)


def _zstd_of_package(source: _Source) -> Any:
    try:
        from zstandard import ZstdDecompressor
    except ImportError:
        return None
    return ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(source, read_across_frames=True)


def _through_program(program: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    child = subprocess.Popen(
        [program, "-d", "-c", "-q", "--no-progress", f"--memory={MAX_WINDOW >> 20}MB"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin and child.stdout and child.stderr
    failed: list[BaseException] = []

    def feed() -> None:
        assert child.stdin
        try:
            with child.stdin:
                for piece in pieces:
                    child.stdin.write(piece)
        except BrokenPipeError:
            pass  # It ended; why is on its standard error.
        except BaseException as error:
            failed.append(error)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        while piece := child.stdout.read(PIECE):
            yield piece
        feeder.join()
        said = child.stderr.read(500).decode(errors="replace").strip().splitlines()
        if failed:
            raise failed[0]
        if child.wait():
            raise ImageError(f"broken zstd data ({said[0] if said else 'zstd failed'})")
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        child.stderr.close()
