"""What was read of a project, as an aligned table: what it is, what was read, where."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck.facts import Project, Seen, Snapshot, Unseen, Why
from gpucheck.project.builds import LIBRARIES, Build, locked_build, requirements
from gpucheck.project.images import recognise

#: Columns of the facts; a longer one has its place two spaces after it.
FACT = 72


def table(snapshot: Snapshot) -> tuple[str, ...]:
    """The lines; none when there is no project."""
    if not isinstance(snapshot.project, Seen):
        return ()
    rows = tuple(_rows(snapshot.project.value))
    width = max((len(fact) for _, fact, _ in rows if len(fact) <= FACT), default=0)
    names = ["", *(name for name, _, _ in rows)]
    return tuple(
        f"  {name if name != before else '':<12} {fact:<{width}}  {place}".rstrip()
        for (name, fact, place), before in zip(rows, names)
    )


def name_of(snapshot: Snapshot) -> str:
    """The project's name; '' where it has none."""
    project = snapshot.project.value if isinstance(snapshot.project, Seen) else None
    return project.pyproject.value.name if project and isinstance(project.pyproject, Seen) else ""


def _rows(project: Project) -> Iterator[tuple[str, str, str]]:
    answers = dict(project.answers.value) if isinstance(project.answers, Seen) else {}
    if isinstance(project.pyproject, Seen):
        kind = answers.get("project_type", "")
        yield "project", project.pyproject.value.name + (f" ({kind})" if kind else ""), project.pyproject.source
        if python := project.pyproject.value.python:
            yield "Python", python.value, python.source
    else:
        yield "project", _unseen(project.pyproject), ""
    for requirement in requirements(project):
        if requirement.name in LIBRARIES:
            extras = f"[{','.join(requirement.extras)}]" if requirement.extras else ""
            written = f"{requirement.name}{extras}{requirement.specifier}"
            index = requirement.index or ", ".join(requirement.alternatives)
            where = f" from {index}" if index else ""
            group = (
                ""
                if requirement.group in ("dependencies", requirement.source.partition(":")[0])
                else f" ({requirement.group})"
            )
            yield "declared", f"{written}{where}{group}", requirement.source
    if isinstance(project.lock, Seen):
        found = _locked(project)
        for build in found:
            yield "locked", build.title + (f" from {build.index}" if build.index else " from PyPI"), build.source
        if not found:
            yield "locked", "none of the libraries that are judged", project.lock.source
    elif project.lock.why is not Why.ABSENT:
        yield "locked", _unseen(project.lock), ""
    for fact in project.dockerfiles:
        if isinstance(fact, Unseen):
            yield "base image", _unseen(fact), ""
            continue
        image = recognise(fact.value.base) if fact.value.base else None
        known = f" ({image.title})" if image else "" if fact.value.unresolved else " (nothing is known of it)"
        yield "base image", (fact.value.base or f"not known: {fact.value.unresolved}") + known, fact.value.source
    if isinstance(project.answers, Seen):
        version = " ".join(part for part in (answers.get("_commit", ""), "of", answers.get("_src_path", "?")) if part)
        yield "template", version, project.answers.source
    elif project.answers.why is not Why.ABSENT:
        yield "template", _unseen(project.answers), ""
    for name, path in project.ci:
        yield "CI", name, path


def _locked(project: Project) -> tuple[Build, ...]:
    assert isinstance(project.lock, Seen)
    lock = project.lock.value
    return tuple(build for package in lock.packages if (build := locked_build(package, lock, project)))


def _unseen(fact: Unseen) -> str:
    return fact.detail if fact.why is Why.ABSENT else f"not read: {fact.detail}"
