"""What a place that has images can do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, Protocol, runtime_checkable

from gpucheck.images.records import Described, ImageError, Layer

#: Of what is stored: it and its content stay in the processor's cache, and in memory that is used again.
PIECE: Final = 1 << 18


class Source(Protocol):
    """An image in its place."""

    def describe(self) -> Described:
        """Manifest and config; no layer is read. Raises ``ImageError``."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


@runtime_checkable
class Layered(Source, Protocol):
    """An image whose layers can be asked for one by one."""

    def layer(self, layer: Layer) -> Iterator[bytes]:
        """The bytes of a layer as they are stored. Raises ``ImageError``."""
        ...


@runtime_checkable
class Stream(Source, Protocol):
    """An image that comes as a whole, its layers in an order of their own."""

    def layers(self) -> Iterator[Iterator[bytes]]:
        """All layers; each is read to its end before the next. Raises ``ImageError``."""
        ...


def file_pieces(path: str, start: int = 0, size: int | None = None) -> Iterator[bytes]:
    """A file, or ``size`` bytes of it, piece by piece. Raises ``ImageError``."""
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            left = os.fstat(file.fileno()).st_size - start if size is None else size
            while left > 0:
                piece = file.read(min(PIECE, left))
                if not piece:
                    raise ImageError(f"{path}: is cut off")
                left -= len(piece)
                yield piece
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from None
