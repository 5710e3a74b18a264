from __future__ import annotations

from tests.elf.conftest import root, shared, workshop

__all__ = ["root", "shared", "workshop"]
