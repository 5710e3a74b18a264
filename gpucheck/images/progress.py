"""How far it is, on a terminal."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

#: Seconds between two changes of the line.
PACE = 0.1


class Progress:
    """One line that is written over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = 0.0
        self._shown = False

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` bytes; None: the total is not known."""
        now = time.monotonic()
        if now < self._next and done != total:
            return
        self._next = now + PACE
        of = f" of {total / 1e6:.0f} MB ({100 * done // total}%)" if total else " MB"
        width = max(shutil.get_terminal_size().columns - 1, 20)
        self._stream.write(f"\r\033[K{f'reading {what}: {done / 1e6:.0f}{of}'[:width]}")
        self._stream.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._stream.write("\r\033[K")
            self._stream.flush()
            self._shown = False
