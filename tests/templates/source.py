"""The template as a git repository of its own: what a user's `copier copy` sees, made from the working tree."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

#: What rendering reads. The rest of the repository would only make each clone slower.
PARTS = ("copier.yml", "templates", "base-images")

TYPES = ("library", "batch-job", "service")


def git(folder: Path, *arguments: str) -> str:
    """Runs git with an author, so that the machine's configuration does not matter."""
    command = ["git", "-C", str(folder), "-c", "user.name=Test", "-c", "user.email=test@example.com", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, tag: str | None = None) -> None:
    """Commits everything in a folder, which becomes a repository if it is none, and tags it."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", tag or "change")
    if tag:
        git(folder, "tag", "--annotate", "--message", tag, tag)


def make_repository(folder: Path, tag: str | None = "v1.0.0") -> Path:
    """A repository with the working tree's template, as a release when there is a tag."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part)
        else:
            shutil.copy(source, folder / part)
    commit(folder, tag)
    return folder


def replace(file: Path, old: str, new: str) -> None:
    """Replaces text that must be there."""
    text = file.read_text()
    assert old in text, f"{file} has no {old!r}"
    file.write_text(text.replace(old, new))


def read_tree(folder: Path) -> dict[str, str]:
    """Path and text of every file, without git's own."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }
