"""The Docker Engine, through the docker command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class EngineError(RuntimeError):
    """The engine cannot do what is asked; the message is one line that says why."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A docker command that can build with BuildKit, and whose engine answers."""

    client: str
    version: str
    """The engine's version."""

    def build(self, arguments: Sequence[str], dockerfile: str | None = None) -> int:
        """``docker build`` with BuildKit, its chatter on stderr; the exit status. ``dockerfile``: one that needs no context."""
        return subprocess.run(
            [self.client, "build", "--progress", "plain", *arguments, *(() if dockerfile is None else ("-",))],
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
            input=None if dockerfile is None else dockerfile.encode(),
            stdout=sys.stderr,
            check=False,
        ).returncode

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another docker command, its output captured; never raises for an exit status."""
        return subprocess.run([self.client, *arguments], capture_output=True, text=True, check=False)

    def export(self, name: str, folder: str) -> tuple[str, ...]:
        """Unpack the files of an image into a folder; their paths below it. EngineError when that fails."""
        created = self.run("create", name)
        if created.returncode:
            raise EngineError(f"{name}: no container can be created: {created.stderr.strip()}")
        container = created.stdout.strip()
        try:
            with subprocess.Popen([self.client, "export", container], stdout=subprocess.PIPE) as export:
                unpacked = subprocess.run(
                    ["tar", "-C", folder, "--no-same-owner", "-xvf", "-"],
                    stdin=export.stdout,
                    capture_output=True,
                    text=True,
                    check=False,
                )
        finally:
            self.run("rm", container)
        if export.returncode or unpacked.returncode:
            raise EngineError(f"{name}: its files cannot be unpacked: {unpacked.stderr.strip()[-200:]}")
        return tuple(unpacked.stdout.splitlines())


def find_engine(env: Mapping[str, str] = os.environ) -> Engine:
    """The first docker command on PATH that can build with BuildKit; EngineError when none can or no engine answers."""
    refused: list[str] = []
    for client in _find_clients(env.get("PATH", "")):
        complaint = _cannot_build(client)
        if complaint:
            refused.append(f"{client} {complaint}")
            continue
        asked = _ask(client, "version", "--format", "{{.Server.Version}}")
        if asked.returncode:
            said = (asked.stderr.strip().splitlines() or ["nothing"])[-1]
            raise EngineError(f"no Docker Engine answers ({said}); start one: ci/setup/docker-engine.sh")
        return Engine(client, asked.stdout.strip())
    if refused:
        raise EngineError(f"no docker command here can build with BuildKit: {'; '.join(refused)}")
    raise EngineError("there is no docker command on PATH; install a Docker Engine: ci/setup/docker-engine.sh")


def _find_clients(path: str) -> tuple[str, ...]:
    found = (os.path.join(directory, "docker") for directory in path.split(os.pathsep) if directory)
    return tuple(dict.fromkeys(file for file in found if os.path.isfile(file) and os.access(file, os.X_OK)))


def _cannot_build(client: str) -> str | None:
    """Why this docker command cannot build with BuildKit; None when it can.

    From 18.09 to 22 the command has BuildKit's client built in; since 23.0 it needs the buildx plugin.
    Source: https://docs.docker.com/engine/release-notes/23.0/
    """
    said = _ask(client, "--version").stdout.strip()
    match = re.match(r"Docker version (\d+)\.(\d+)", said)
    if not match:
        return f"is no Docker client (it says: {said or 'nothing'})"
    version = int(match[1]), int(match[2])
    if version < (18, 9):
        return f"is version {match[1]}.{match[2]}, and BuildKit came with 18.09"
    if version >= (23, 0) and _ask(client, "buildx", "version").returncode:
        return f"is version {match[1]}.{match[2]} without its buildx plugin; install docker-buildx-plugin"
    return None


def _ask(client: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run([client, *arguments], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess([client, *arguments], 127, "", str(error))
