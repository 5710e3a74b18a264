"""The package index, by way of pip, so that the user's own index, proxy and certificates count."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

#: Interpreters that a wheel is looked for in this order: old releases have none for new ones.
PYTHONS = ("3.12", "3.13", "3.14", "3.11", "3.10", "3.9", "3.8", "3.7")
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(40, 4, -1)),
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"),
)


class NotThere(Exception):
    """The index has no such wheel, or cannot be asked; ``str()`` is what pip said."""


@dataclass(frozen=True)
class Release:
    """A wheel for Linux x86-64 on the index."""

    name: str
    version: str
    url: str
    requires: tuple[str, ...]
    python: str
    """Requires-Python."""

    def pins(self, extra: str = "") -> tuple[str, ...]:
        """Requirements without markers: of an extra, or of none."""
        found = []
        for requirement in self.requires:
            text, _, marker = requirement.partition(";")
            named = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
            # with_cuda and with-cuda are the same extra: PEP 685.
            if (named[1].replace("_", "-") if named else "") == extra:
                found.append(re.sub(r"\s*\(([^)]*)\)", r"\1", text).replace(" ", ""))
        return tuple(found)

    def pin(self, pattern: str) -> str:
        """The version that is pinned of the requirement whose name matches: ``9.26.0.51``, ``~=3.9.0``; '' for none."""
        for text in self.pins():
            match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[.*\])?(.*)", text)
            if match and re.fullmatch(pattern, match[1]):
                return match[2].removeprefix("==")
        return ""


def numbers(version: str) -> tuple[int, ...]:
    """For comparing releases; empty for what is no plain release, such as 2.0rc1."""
    return tuple(int(part) for part in version.split(".")) if re.fullmatch(r"\d+(\.\d+)*", version) else ()


@cache
def versions(name: str) -> tuple[str, ...]:
    """The plain releases of a distribution that have a wheel for a recent Python. Raises ``NotThere``."""
    found: dict[str, None] = {}
    problem = NotThere(f"{name}: no release")
    for python in PYTHONS[:3]:
        try:
            said = pip("index", "versions", name, "--only-binary", ":all:", *target(python))
        except NotThere as error:
            problem = error
            continue
        match = re.search(r"^Available versions: (.*)$", said, re.MULTILINE)
        found.update(dict.fromkeys(version for version in (match[1] if match else "").split(", ") if numbers(version)))
    if not found:
        raise problem
    return tuple(found)


def target(python: str) -> list[str]:
    """The options that ask for wheels for a Python on Linux x86-64."""
    return ["--python-version", python, *(part for platform in PLATFORMS for part in ("--platform", platform))]


@cache
def release(name: str, version: str) -> Release:
    """A release's wheel; nothing but its METADATA is fetched. Raises ``NotThere``."""
    options = (
        "--quiet",
        "--dry-run",
        "--no-deps",
        "--ignore-installed",
        "--only-binary",
        ":all:",
        "--target",
        "unused",
    )
    problem = NotThere(f"{name} {version}: no wheel for Linux x86-64")
    for python in PYTHONS:
        try:
            report = pip("install", *options, *target(python), "--report", "-", f"{name}=={version}")
        except NotThere as error:
            problem = error
            continue
        found: dict[str, Any] = json.loads(report)["install"][0]
        metadata = found["metadata"]
        return Release(
            name,
            version,
            found["download_info"]["url"],
            tuple(metadata.get("requires_dist", ())),
            metadata.get("requires_python", "").replace(" ", ""),
        )
    raise problem


def pip(*arguments: str) -> str:
    """What pip prints. Raises ``NotThere``."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        errors = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")]
        raise NotThere((errors or ran.stderr.splitlines() or ["pip failed"])[-1].removeprefix("ERROR: "))
    return ran.stdout
