"""Starts a project from the templates and updates one later.

A front for Copier: input is checked before anything is written, and what Copier answers with a traceback, or with exit
code 0 (conflicts: https://copier.readthedocs.io/en/stable/updating/), becomes one line or a value.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from gpucheck.record import dataclass

if TYPE_CHECKING:
    from types import ModuleType

#: Written by the template into each project; what was answered, and where the template is.
ANSWERS = ".copier-answers.yml"

#: As a version: the one that the project has.
CURRENT = ":current:"

#: The environment variable that names the template's repository.
SOURCE = "GPU_CAPABLE_TEMPLATE"

_NO_VERSION = "the template has no version {}; leave the version out for the newest"


class TemplateError(ValueError):
    """Input that cannot be used. The message is one line with the thing and the next step; nothing was written."""


@dataclass(frozen=True, slots=True)
class Created:
    """A project that was started."""

    destination: Path
    version: str | None
    """The template's version; None for a template that is no git repository, which cannot be updated later."""


@dataclass(frozen=True, slots=True)
class Updated:
    """An update that was made, or with ``dry_run`` would be made. Paths are relative to the project."""

    before: str
    after: str
    changed: tuple[str, ...]
    """Files that are new or different, those with conflicts too."""
    removed: tuple[str, ...]
    """Files that the new template no longer has; what was edited in them is in the last commit."""
    conflicts: tuple[str, ...]
    """Files in which both sides changed the same lines; they hold conflict markers."""


def find_source() -> str:
    """Where the template is: $GPU_CAPABLE_TEMPLATE, else the checkout gpucheck runs from or was installed from.

    TemplateError when none of them is there. The installed distribution knows its git URL: PEP 610.
    """
    named = os.environ.get(SOURCE)
    if named:
        return named
    checkout = Path(__file__).resolve().parent.parent.parent
    if (checkout / "copier.yml").is_file():
        return str(checkout)
    try:
        origin = json.loads(distribution("gpu-capable").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, json.JSONDecodeError):
        origin = {}
    if origin.get("vcs_info", {}).get("vcs") == "git":
        return f"git+{origin['url']}"
    raise TemplateError(f"where is the template? name its git URL or folder with --template or in ${SOURCE}")


def create(source: str, destination: Path, answers: Mapping[str, str], version: str | None = None) -> Created:
    """Starts a project in a new or empty folder; questions that ``answers`` leaves open get their defaults.

    ``source`` is a git URL or a folder, ``version`` a tag or commit of it (the newest release when None).
    TemplateError for input that cannot be used.
    """
    copier = _import_copier()
    if destination.exists() and not destination.is_dir():
        raise TemplateError(f"{destination} is a file; choose a new folder")
    if destination.is_dir() and any(destination.iterdir()):
        made = (destination / ANSWERS).is_file()
        next_step = f"update it with: gpucheck update {destination}" if made else "choose a new folder"
        raise TemplateError(f"{destination} is not empty; {next_step}")
    if Path(source).is_dir():
        # Copier stores the path as typed, and a relative one means another folder at the next update.
        source = str(Path(source).resolve())
    _require_local(source, "name the template's git URL or folder")

    def copy(pretend: bool) -> tuple[str, ...]:
        worker = copier.run_copy(
            source, destination, dict(answers), vcs_ref=version, defaults=True, quiet=True, pretend=pretend
        )
        return tuple(worker.template.questions_data)

    with _one_line(source):
        _refuse_unknown(answers, copy(pretend=True))
        copy(pretend=False)
    recorded = _read_answers(destination) if (destination / ANSWERS).is_file() else {}
    return Created(destination, recorded.get("_commit"))


def update(
    destination: Path, answers: Mapping[str, str] | None = None, version: str | None = None, dry_run: bool = False
) -> Updated:
    """Brings a project to a newer version of its template, merged with what was edited there.

    ``answers`` change earlier ones. ``version`` is a tag or commit, the newest release when None, and ":current:" keeps
    what it is. With ``dry_run`` the project is left alone. TemplateError for a folder that was not made from a template
    or is not committed whole, and for answers that cannot be used.
    """
    copier = _import_copier()
    recorded = _read_answers(destination)
    top = _find_repository(destination)
    _require_local(recorded["_src_path"], f"correct _src_path in {destination / ANSWERS}")
    inside = destination.resolve().relative_to(top)
    reference = copier.VcsRef.CURRENT if version == CURRENT else version

    def run(project: Path) -> tuple[str, ...]:
        worker = copier.run_update(
            project, dict(answers or {}), vcs_ref=reference, defaults=True, overwrite=True, quiet=True
        )
        return tuple(worker.template.questions_data)

    # First in a clone, so that what goes wrong leaves the project as it was.
    with tempfile.TemporaryDirectory(prefix="gpucheck-update-") as scratch, _one_line(recorded["_src_path"]):
        clone = Path(scratch) / "project"
        _git(top, "clone", "--quiet", str(top), str(clone))
        _refuse_unknown(answers or {}, run(clone / inside))
        if dry_run:
            return _compare(clone / inside, recorded["_commit"])
        run(destination)
    return _compare(destination, recorded["_commit"])


def _import_copier() -> ModuleType:
    if shutil.which("git") is None:
        raise TemplateError("git is not here and the templates need it; install git")
    try:
        import copier
    except ImportError:
        raise TemplateError("Copier is not here; install it: pip install 'gpu-capable[templates]'") from None
    return copier


def _require_local(source: str, next_step: str) -> None:
    # What Copier takes for a URL: https://copier.readthedocs.io/en/stable/generating/#templates-versions
    remote = re.match(r"(gh:|gl:|git@|git\+|[a-z+]+://)", source) or source.endswith((".git", ".bundle"))
    if remote:
        return
    if not Path(source).expanduser().is_dir():
        raise TemplateError(f"there is no template at {source}; {next_step}")
    if not any((Path(source).expanduser() / name).is_file() for name in ("copier.yml", "copier.yaml")):
        raise TemplateError(f"{source} has no copier.yml, so it is no template; {next_step}")


def _refuse_unknown(answers: Mapping[str, str], questions: tuple[str, ...]) -> None:
    for name in answers:
        if name not in questions:
            raise TemplateError(f"there is no question {name}; the questions are: {', '.join(questions)}")


@contextmanager
def _one_line(source: str) -> Iterator[None]:
    """Turns what Copier raises for input it cannot use into TemplateError."""
    from copier.errors import CopierError

    try:
        with warnings.catch_warnings():
            # An uncommitted template is used as it is; its version then says so.
            warnings.simplefilter("ignore")
            yield
    except TemplateError:
        raise
    except (ValueError, TypeError, CopierError) as error:
        raise TemplateError(_shorten(str(error))) from error
    except Exception as error:
        # plumbum's, which Copier runs git with and which is no dependency of ours.
        stderr = getattr(error, "stderr", None)
        if not isinstance(stderr, str):
            raise
        unknown = re.search(r"pathspec '(.*)' did not match", stderr)
        if unknown:
            raise TemplateError(_NO_VERSION.format(unknown.group(1))) from error
        fatal = re.search(r"^fatal: (.*)$", stderr, re.MULTILINE)
        said = fatal.group(1) if fatal else _shorten(stderr)
        raise TemplateError(f"git could not read the template {source}: {said}") from error


def _shorten(message: str) -> str:
    line = " ".join(message.split())
    line = re.sub(r"^Validation error for question '(\w+)': ", r"\1: ", line)
    unknown = re.fullmatch(r"Unknown revision: '(.*)'", line)
    if unknown:
        return _NO_VERSION.format(unknown.group(1))
    choice = re.fullmatch(r"Invalid choice for '(\w+)': (.*) is not in \[(.*)\]", line)
    if choice:
        name, given, known = choice.groups()
        return f"{name}: {given} is not known; choose one of {known}".replace("'", "")
    return re.sub(r"^Invalid choice for '(\w+)': ", r"\1: ", line)


def _read_answers(destination: Path) -> dict[str, str]:
    import yaml

    file = destination / ANSWERS
    try:
        recorded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TemplateError(
            f"{destination} has no {ANSWERS}, so it was not made from a template; start one with: gpucheck new"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TemplateError(f"{file} cannot be read ({_shorten(str(error))}); restore it from git") from error
    if not isinstance(recorded, dict) or not {"_commit", "_src_path"} <= recorded.keys():
        raise TemplateError(f"{file} does not name its template (_src_path, _commit); restore it from git")
    return {str(key): str(value) for key, value in recorded.items()}


def _find_repository(destination: Path) -> Path:
    """The top folder of the project's git repository; TemplateError when an update could not be undone there."""
    commit = "git init && git add --all && git commit"
    try:
        top = Path(_git(destination, "rev-parse", "--show-toplevel").strip())
        _git(destination, "rev-parse", "--verify", "HEAD")
    except subprocess.CalledProcessError:
        raise TemplateError(f"{destination} has no commit, so an update could not be undone; first: {commit}") from None
    dirty = [line[3:] for line in _git(destination, "status", "--porcelain", "--untracked-files=all").splitlines()]
    if dirty:
        shown = ", ".join(dirty[:3]) + (f" and {len(dirty) - 3} more" if len(dirty) > 3 else "")
        raise TemplateError(f"{top} has changes that are not committed ({shown}); commit or stash them, then update")
    return top


def _compare(project: Path, before: str) -> Updated:
    """What the working tree of a project has other than its last commit."""

    def list_paths(*arguments: str) -> tuple[str, ...]:
        return tuple(sorted(filter(None, _git(project, *arguments, "-z").split("\0"))))

    conflicts = list_paths("diff", "--name-only", "--relative", "--diff-filter=U")
    different = list_paths("diff", "--name-only", "--relative", "--diff-filter=AM", "HEAD")
    new = list_paths("ls-files", "--others", "--exclude-standard")
    return Updated(
        before=before,
        after=_read_answers(project)["_commit"],
        changed=tuple(sorted({*different, *new, *conflicts})),
        removed=list_paths("diff", "--name-only", "--relative", "--diff-filter=D", "HEAD"),
        conflicts=conflicts,
    )


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True).stdout
