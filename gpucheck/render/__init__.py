"""Reports as text for people and as documents for machines: one pure function a format."""

from __future__ import annotations

from collections.abc import Callable

from gpucheck.finding import Report
from gpucheck.render import document, text

#: ``(report, command, colour) -> text``. A new format is one function and one entry.
FORMATS: dict[str, Callable[[Report, str, bool], str]] = {
    "text": text.render,
    "json": document.render,
}
