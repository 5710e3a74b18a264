"""Dockerfiles: the image that the last stage comes from, what it sets in the environment, and what it installs for Python.

The format: https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections import ChainMap
from collections.abc import Iterator, Mapping

from gpucheck.facts import Dockerfile, DockerVariable, Install, Seen, Unseen, Why
from gpucheck.probes.environment import BEGINNINGS, NAMES, SECRETS
from gpucheck.probes.python import canonical
from gpucheck.project.requirements import parse_options, parse_requirement
from gpucheck.record import dataclass, replace

#: A stage from a stage from a stage: a Dockerfile has at most this many.
STAGES = 500


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction with its continuation lines and here-documents."""

    word: str
    """In capitals: ``FROM``."""
    rest: str
    line: int


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile in order."""
    escape, directives = "\\", True
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number].strip()
        number += 1
        if directives and (match := re.fullmatch(r"#\s*escape\s*=\s*([\\`])", line, re.IGNORECASE)):
            escape = match[1]
        directives = directives and re.match(r"#\s*\w+\s*=", line) is not None
        if not line or line.startswith("#"):
            continue
        start = number
        parts = []
        while line.endswith(escape):
            parts.append(line[:-1])
            # Comment lines and empty lines within a continued instruction are left out.
            while number < len(lines) and (not lines[number].strip() or lines[number].strip().startswith("#")):
                number += 1
            line = lines[number].strip() if number < len(lines) else ""
            number += 1
        parts.append(line)
        word, _, rest = " ".join(parts).partition(" ")
        if word.upper() in ("RUN", "COPY", "ADD"):
            for end in re.findall(r"<<-?\s*[\"']?(\w+)[\"']?", rest):
                while number < len(lines) and lines[number].strip() != end:
                    rest += "\n" + lines[number]
                    number += 1
                number += 1
        yield Instruction(word.upper(), rest.strip(), start)


#: Variables and arguments; None: declared without a value.
Values = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next."""

    name: str
    base: str
    """With the defaults of ARG filled in."""
    unresolved: str
    line: int
    """The line of FROM, or of the ARG that names the whole image."""
    body: tuple[Instruction, ...]


def stages(text: str) -> tuple[tuple[Stage, ...], Values]:
    """The stages of a Dockerfile, and the defaults of the arguments before them."""
    defaults: dict[str, str | None] = {}
    places: dict[str, int] = {}
    found: list[Stage] = []
    bodies: list[list[Instruction]] = []
    for instruction in instructions(text):
        if instruction.word == "FROM" and len(found) < STAGES:
            words = [word for word in instruction.rest.split() if not word.startswith("--")]
            base, missing = expand(words[0] if words else "", defaults)
            whole = re.fullmatch(r"\$\{?(\w+)\}?", words[0]) if words else None
            bodies.append([])
            found.append(
                Stage(
                    words[2].lower() if len(words) == 3 and words[1].upper() == "AS" else "",
                    base,
                    f"ARG {missing[0]} has no default" if missing else "",
                    places.get(whole[1], instruction.line) if whole else instruction.line,
                    (),
                )
            )
        elif found:
            bodies[-1].append(instruction)
        elif instruction.word == "ARG":
            for name, value in _pairs(instruction.rest):
                defaults[name] = expand(value, defaults)[0] if value is not None else None
                places[name] = instruction.line
    return tuple(replace(stage, body=tuple(body)) for stage, body in zip(found, bodies)), defaults


def expand(text: str, values: Values) -> tuple[str, tuple[str, ...]]:
    """The text with ``$NAME``, ``${NAME}``, ``${NAME:-word}`` and ``${NAME:+word}`` filled in, and the names that are not known.

    What is not known stays as it is written.
    """
    missing = []

    def value(match: re.Match[str]) -> str:
        name, operator, word = match["name"] or match["plain"], match["operator"], match["word"]
        known = values.get(name)
        if operator == ":+":
            return word if known else ""
        if operator == ":-":
            return known or word
        if known is None:
            missing.append(name)
            return match[0]
        return known

    pattern = r"\$(?:\{(?P<name>\w+)(?:(?P<operator>:[-+])(?P<word>[^}]*))?\}|(?P<plain>\w+))"
    return re.sub(pattern, value, text), tuple(missing)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _pairs(text: str) -> Iterator[tuple[str, str | None]]:
    """``A=1 B="two words"`` of ARG and ENV, and the old form ``ENV A two words``."""
    words = _words(text)
    if words and "=" not in words[0] and len(words) > 1:
        yield words[0], " ".join(words[1:])
        return
    for word in words:
        name, equals, value = word.partition("=")
        yield name, value if equals else None


def parse_dockerfile(text: Seen[str]) -> Seen[Dockerfile] | Unseen:
    """What the last stage comes to. UNREADABLE for a file without FROM."""
    found, defaults = stages(text.value)
    if not found:
        return Unseen(Why.UNREADABLE, (text.source,), f"{text.source}: no Dockerfile: it has no FROM")
    first = _chain(found, found[-1])[0]
    variables = {
        name: DockerVariable(name, value, f"{text.source}:{instruction.line}")
        for instruction, known in _scoped(found, found[-1], defaults)
        if instruction.word == "ENV"
        for name, value in _assigned(instruction, known)
    }
    return Seen(
        Dockerfile(
            path=text.source,
            base="" if first.unresolved else first.base,
            unresolved=first.unresolved,
            source=f"{text.source}:{first.line}",
            variables=tuple(variable for name, variable in sorted(variables.items()) if _matters(name)),
            installs=tuple(
                install
                for stage in _sources(found)
                for instruction, known in _scoped(found, stage, defaults)
                if instruction.word == "RUN" and instruction in stage.body
                for install in installs(instruction, known, text.source)
            ),
        ),
        text.source,
    )


def _scoped(found: tuple[Stage, ...], stage: Stage, defaults: Values) -> Iterator[tuple[Instruction, Values]]:
    """The instructions of a stage and of those that it is FROM, each with the values that it sees.

    ENV lasts in the stages that come from this one, ARG to the end of its stage; ENV wins over ARG.
    """
    variables: dict[str, str | None] = {}
    for one in _chain(found, stage):
        arguments: dict[str, str | None] = {}
        for instruction in one.body:
            known = ChainMap(variables, arguments)
            yield instruction, known
            if instruction.word == "ENV":
                # What an ENV sets is not yet seen by the rest of its line.
                variables.update(tuple(_assigned(instruction, known)))
            elif instruction.word == "ARG":
                for name, value in _pairs(instruction.rest):
                    arguments[name] = defaults.get(name) if value is None else expand(value, known)[0]


def _assigned(instruction: Instruction, known: Values) -> Iterator[tuple[str, str]]:
    for name, value in _pairs(instruction.rest):
        yield name, expand(value or "", known)[0]


def _matters(name: str) -> bool:
    return (name in NAMES or name.startswith(BEGINNINGS)) and not any(word in name.upper() for word in SECRETS)


def _named(found: tuple[Stage, ...], name: str, before: int) -> Stage | None:
    """An earlier stage by its name or number."""
    if name.isdigit():
        return found[int(name)] if int(name) < before else None
    return next((stage for stage in reversed(found[:before]) if stage.name == name.lower()), None)


def _chain(found: tuple[Stage, ...], stage: Stage) -> list[Stage]:
    """A stage and those that it is FROM, the outermost first."""
    chain = [stage]
    while (parent := _named(found, chain[0].base, found.index(chain[0]))) and not chain[0].base.isdigit():
        chain.insert(0, parent)
    return chain


def _sources(found: tuple[Stage, ...]) -> list[Stage]:
    """The stages whose files can end in the image: the last one, what it is FROM and what is copied from, in order."""
    wanted: list[Stage] = []
    todo = [found[-1]]
    while todo:
        stage = todo.pop()
        if stage in wanted:
            continue
        wanted.append(stage)
        position = found.index(stage)
        names = [stage.base]
        names += [
            name
            for instruction in stage.body
            if instruction.word in ("COPY", "RUN")
            for name in re.findall(r"(?:--from=|[, ]from=)([\w.-]+)", instruction.rest)
        ]
        todo += [source for name in names if (source := _named(found, name, position))]
    return sorted(wanted, key=found.index)


# -- what RUN installs -------------------------------------------------------------------------------------------------


def installs(instruction: Instruction, known: Values, path: str) -> Iterator[Install]:
    """The commands of a RUN that install Python packages."""
    text = re.sub(r"^(?:--\w+=\S+\s+)+", "", expand(instruction.rest, known)[0])
    if text.startswith("["):
        # What is no JSON is a shell command (a test, for example).
        with contextlib.suppress(ValueError):
            text = shlex.join(str(word) for word in json.loads(text))
    for command in re.split(r"&&|\|\||[;\n|&()]", text):
        words = _words(command.strip())
        # Variables before a command, and the ways to start one.
        while words and (
            re.fullmatch(r"\w+=.*", words[0]) or words[0] in ("sudo", "exec", "then", "else", "do", "time")
        ):
            words = words[1:]
        install = _install(tuple(words), f"{path}:{instruction.line}")
        if install:
            yield install


def _install(words: tuple[str, ...], source: str) -> Install | None:
    name = words[0].rsplit("/", 1)[-1] if words else ""
    if name == "uv" and words[1:2] in (("sync",), ("export",)):
        return Install(f"uv {words[1]}", _uv_groups(words), (), source)
    if name == "poetry" and words[1:2] in (("install",), ("sync",)):
        return Install(f"poetry {words[1]}", ("*",), (), source)
    for start in range(min(4, len(words))):
        if re.fullmatch(r"pip[\d.]*", words[start].rsplit("/", 1)[-1]) and words[start + 1 : start + 2] in (
            ("install",),
            ("sync",),
        ):
            return _pip(words[start + 2 :], " ".join(words[: start + 2]), source)
    return None


def _after(words: tuple[str, ...], *options: str) -> Iterator[str]:
    """The values of an option, in both spellings: ``--extra x`` and ``--extra=x``."""
    for position, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in options:
            yield value if equals else "".join(words[position + 1 : position + 2])


def _uv_groups(words: tuple[str, ...]) -> tuple[str, ...]:
    """https://docs.astral.sh/uv/concepts/projects/sync/: the project, the group dev, and what is asked for."""
    only = [f"group {canonical(group)}" for group in _after(words, "--only-group")]
    if "--only-dev" in words:
        only.append("group dev")
    if only:
        return tuple(only)
    groups = ["dependencies"]
    if not {"--no-dev", "--no-default-groups"} & set(words):
        groups.append("group dev")
    groups += [f"extra {canonical(extra)}" for extra in _after(words, "--extra")]
    groups += [f"group {canonical(group)}" for group in _after(words, "--group")]
    if "--all-extras" in words:
        groups.append("extra *")
    if "--all-groups" in words:
        groups.append("group *")
    return tuple(groups)


#: Options of pip and uv pip that take a value.
_VALUED = {
    "-i", "--index-url", "--default-index", "--extra-index-url", "--index", "-f", "--find-links", "-c", "--constraint", "-t",
    "--target", "--prefix", "--python", "-p", "--root", "--platform", "--timeout", "--retries", "--cert", "--trusted-host",
    "--cache-dir", "--torch-backend", "--index-strategy", "--no-binary", "--only-binary", "-e", "--editable", "-r",
    "--requirement", "--requirements", "--python-version", "--upgrade-strategy", "--progress-bar", "--link-mode",
}  # fmt: skip


def _pip(words: tuple[str, ...], command: str, source: str) -> Install:
    groups = [f"file {file}" for file in _after(words, "-r", "--requirement", "--requirements")]
    options = parse_options(words)
    backend = next(_after(words, "--torch-backend"), "")
    found = []
    for position, word in enumerate(words):
        option = words[position - 1] if position else ""
        editable = option in ("-e", "--editable")
        if word.startswith("-") or (option in _VALUED and not editable):
            continue
        local = re.fullmatch(r"(?:\.|\./|/\S*)(?:\[([^\]]*)\])?", word)
        if local:
            groups.append("dependencies")
            groups += [f"extra {canonical(extra.strip())}" for extra in (local[1] or "").split(",") if extra.strip()]
        elif requirement := parse_requirement(word, "", source):
            if backend and backend != "auto" and not options.index:
                options = parse_options((f"--index-url=https://download.pytorch.org/whl/{backend}",))
            found.append(options.apply(requirement))
    return Install(command, tuple(groups), tuple(found), source)
