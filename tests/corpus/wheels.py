"""Python packages as pip installs them: the files of a distribution, its METADATA and RECORD, and what it brings."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from tests.corpus.frameworks import SHAPES, plain
from tests.corpus.toolkits import Files


def install(
    text: str,
    packages: str,
    machine: str,
    asked: Mapping[str, str],
    without: tuple[str, ...] = (),
    python: str = "3.12",
) -> Iterator[Files]:
    """The files of each distribution that ``name==version`` brings: itself, and what it pins.

    ``packages``: the site-packages folder. ``asked``: the versions of all that the fixture names. A build that pins one of
    them pins that version. ``without``: patterns of files that these wheels do not have.
    """
    name, _, version = text.partition("==")
    shape = next((shape for pattern, shape in SHAPES if re.fullmatch(pattern, name)), plain)
    pins, files = shape(name, version, machine)
    tag = f"cpython-{python.replace('.', '')}-{machine}-linux-gnu"
    files = {
        path.replace("cpython-312-x86_64-linux-gnu", tag): content
        for path, content in files.items()
        if not any(fnmatchcase(path, each) for each in without)
    }
    pins = {need: asked.get(need, pin) for need, pin in pins.items()}
    yield _distribution(name, version, packages, pins, files)
    for need, pin in pins.items():
        if need not in asked:
            yield from install(f"{need}=={pin}", packages, machine, {**asked, **pins}, without, python)


def _distribution(name: str, version: str, packages: str, requires: Mapping[str, str], files: Files) -> Files:
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {need}=={pin}" for need, pin in requires.items()]
    found: Files = {f"{packages}/{path}": content for path, content in files.items()}
    found[f"{packages}/{folder}/METADATA"] = "\n".join(lines) + "\n"
    found[f"{packages}/{folder}/INSTALLER"] = "pip\n"
    found[f"{packages}/{folder}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n"
    rows = [_row(path.removeprefix(f"{packages}/"), content) for path, content in found.items()]
    found[f"{packages}/{folder}/RECORD"] = "".join(rows) + f"{folder}/RECORD,,\n"
    return found


def _row(path: str, content: bytes | str) -> str:
    data = content.encode() if isinstance(content, str) else content
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"{path},sha256={digest},{len(data)}\n"
