"""Reports as text for people and as documents for machines: one module a format, with one pure function ``render``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpucheck.compat.table import Table
    from gpucheck.finding import Report

#: A new format is a module and an entry. A module is imported when its format is asked for.
FORMATS = {
    "text": "gpucheck.render.text",
    "json": "gpucheck.render.document",
    "junit": "gpucheck.render.junit",
    "sarif": "gpucheck.render.sarif",
    "html": "gpucheck.render.html",
}


def render(report: Report, command: str, format: str, colour: bool) -> str:
    """The report as text in one of ``FORMATS``; ``command`` is the one that made it: ``doctor``, ``image debian:trixie``."""
    rendered: str = import_module(FORMATS[format]).render(report, command, colour)
    return rendered


#: The same for images against nodes: modules with a function ``render_matrix``.
MATRIX_FORMATS = {
    **FORMATS,
    "text": "gpucheck.render.matrix",
    "json": "gpucheck.render.matrix_document",
}


def render_matrix(table: Table, format: str, colour: bool) -> str:
    """Images against nodes as text in one of ``MATRIX_FORMATS``."""
    rendered: str = import_module(MATRIX_FORMATS[format]).render_matrix(table, colour)
    return rendered
