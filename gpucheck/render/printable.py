"""Text from outside, made harmless for a terminal: names of images, nodes and files may hold anything."""

from __future__ import annotations


def printable(text: str) -> str:
    """Control characters, escape sequences and bytes that are no UTF-8 as ``\\x1b``; all else as it is."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
