"""Requirements as people write them: PEP 508 strings and requirements files of pip."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from gpucheck.facts import Requirement, RequirementsFile, Seen, Unseen, Why
from gpucheck.probes.python import TELLING, canonical
from gpucheck.project.text import read_lines, without_credentials
from gpucheck.record import dataclass, replace
from gpucheck.system import System

_REQUIREMENT = (
    r"\s*(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:\[(?P<extras>[^\]]*)\])?\s*"
    r"(?:@\s*(?P<url>[^\s;]+)|\(?(?P<specifier>[^;()]*)\)?)\s*(?:;(?P<marker>.*))?"
)
#: Characters of a requirement that anyone wrote.
LONGEST = 2000
#: Files that include each other are followed this far.
INCLUDES = 20


def tells(name: str) -> bool:
    """Whether a distribution matters here."""
    return re.fullmatch(TELLING, name) is not None


def parse_requirement(text: str, group: str, source: str) -> Requirement | None:
    """``torch[extra]>=2.9; marker`` or ``torch @ URL``; None for a path, an option or anything else."""
    match = re.fullmatch(_REQUIREMENT, text) if len(text) <= LONGEST else None
    if not match:
        return None
    extras = tuple(sorted(canonical(part.strip()) for part in (match["extras"] or "").split(",") if part.strip()))
    specifier, index = (match["specifier"] or "").strip(), ""
    if match["url"]:
        index, version = _of_wheel(match["url"])
        specifier = f"=={version}" if version else ""
    elif specifier and specifier[0] not in "=<>!~":
        return None
    return Requirement(
        canonical(match["name"]), extras, specifier, (match["marker"] or "").strip(), group, index, source
    )


def _of_wheel(url: str) -> tuple[str, str]:
    """The folder and the version of a wheel's URL: .../whl/cu128/torch-2.9.0%2Bcu128-cp312-cp312-linux_x86_64.whl."""
    folder, _, file = without_credentials(url).split("#")[0].rpartition("/")
    match = re.fullmatch(r"[^-]+-([^-]+)-.*\.whl", re.sub("%2[bB]", "+", file))
    return folder, match[1] if match else ""


def index_tag(url: str) -> str:
    """``cpu``, ``cu126``, ... of an index of PyTorch's layout; '' for any other.

    https://pytorch.org/get-started/locally/: https://download.pytorch.org/whl/<tag>
    """
    match = re.search(r"/(cpu|xpu|cu\d{2,3}|rocm[\d.]+)/?(?:simple/?)?$", url)
    return match[1] if match else ""


@dataclass(frozen=True, slots=True)
class Options:
    """Indexes that a requirements file or a command line names."""

    index: str
    extra: tuple[str, ...]

    def apply(self, requirement: Requirement) -> Requirement:
        """pip has no order of indexes: the newest version of all of them wins."""
        if requirement.index or not (self.index or self.extra):
            return requirement
        return replace(requirement, index=self.index, alternatives=self.extra)


def parse_options(words: tuple[str, ...]) -> Options:
    """From the words of a command or of a file's option lines."""
    index, extra = "", []
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        value = value if equals else words[position + 1] if position + 1 < len(words) else ""
        if name in ("-i", "--index-url", "--default-index") and value:
            index = without_credentials(value)
        elif name in ("--extra-index-url", "--index", "-f", "--find-links") and value:
            extra.append(without_credentials(value))
    return Options(index, tuple(extra))


def read_requirements(system: System, path: str) -> Seen[RequirementsFile] | Unseen:
    """A requirements file and those it includes, as far as they are in the project."""
    words: list[str] = []
    found: list[Requirement] = []
    pinned = True
    trouble: list[Unseen] = []
    for line, source in _lines(system, path, {path}, trouble):
        if line.startswith("-"):
            words += line.split()
            pinned = pinned and not line.startswith(("-e", "--editable"))
            continue
        requirement = parse_requirement(re.split(r"\s--hash[= ]", line)[0], path.lstrip("/"), source)
        pinned = pinned and requirement is not None and re.match(r"===?[^*]+$", requirement.specifier) is not None
        if requirement and tells(requirement.name):
            found.append(requirement)
    if trouble:
        return trouble[0]
    options = parse_options(tuple(words))
    shown = path.lstrip("/")
    return Seen(RequirementsFile(shown, pinned, tuple(options.apply(requirement) for requirement in found)), shown)


def _lines(system: System, path: str, visited: set[str], trouble: list[Unseen]) -> Iterator[tuple[str, str]]:
    """Logical lines with their places. https://pip.pypa.io/en/stable/reference/requirements-file-format/"""
    text = read_lines(system, path)
    if isinstance(text, Unseen):
        trouble.append(Unseen(Why.UNREADABLE, text.tried, text.detail))
        return
    pending, start = "", 0
    for number, raw in enumerate([*text.value.splitlines(), ""], 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        start = start if pending else number
        pending += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        logical, pending = pending.strip(), ""
        include = re.match(r"(?:-r|--requirement)[= ]?\s*(\S+)", logical)
        if include:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), include[1]))
            if target not in visited and len(visited) < INCLUDES:
                visited.add(target)
                yield from _lines(system, target, visited, trouble)
        elif logical:
            yield logical, f"{path.lstrip('/')}:{start}"
