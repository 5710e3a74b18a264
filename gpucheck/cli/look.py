"""Where the options say to look, and what is seen there."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from gpucheck.cli.options import parse_pairs, refuse
from gpucheck.record import dataclass

if TYPE_CHECKING:
    from gpucheck.facts import Snapshot
    from gpucheck.images.opening import Image
    from gpucheck.images.records import Described
    from gpucheck.system import System


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look, as the options say; by default this machine."""

    root: str | None
    env: list[str]
    image: str | None
    platform: str | None
    plain_http: bool
    no_cache: bool


def look(where: Place, snapshot: str | None, python: str | None, timeout: float) -> Snapshot:
    """The snapshot that the options ask for."""
    from gpucheck.probes import observe

    if snapshot is not None:
        if (where.root, where.image) != (None, None):
            refuse(f"--snapshot and {'--root' if where.root is not None else '--image'} exclude each other")
        return read_snapshot(snapshot)
    system = open_system(where)
    if python is not None and system.resolve(python) is None:
        refuse(f"--python {python}: there is no interpreter or environment")
    return observe(system, python, timeout)


def open_system(where: Place, *, live_env: bool = False) -> System:
    """This machine, an image, or the files below a folder.

    ``live_env``: variables may be added to this machine's environment.
    """
    from gpucheck.system import Local, Rootfs

    root = where.root
    if root is None and where.image is None and where.env and not live_env:
        refuse("--env goes with --root or --image: a live system has its own environment")
    pairs = parse_pairs("--env", where.env)
    if where.image is not None:
        return open_layers(where, pairs).system
    if where.platform is not None:
        refuse("--platform goes with --image")
    try:
        return Rootfs(root, pairs) if root is not None else Local({**os.environ, **pairs}) if pairs else Local()
    except OSError as error:
        refuse(f"--root {root}: {error.strerror}")


def open_layers(where: Place, env: dict[str, str]) -> Image:
    """An image with its files, which stay open until the command ends."""
    from gpucheck.images.opening import open_image
    from gpucheck.images.progress import Progress
    from gpucheck.images.records import ImageError

    if where.root is not None:
        refuse("--image and --root exclude each other")
    progress = Progress(sys.stderr)
    try:
        return open_image(
            where.image or "",
            platform=where.platform,
            env=env,
            progress=progress if sys.stderr.isatty() else None,
            cache=not where.no_cache,
            plain_http=where.plain_http,
        )
    except ImageError as error:
        refuse(str(error))
    finally:
        progress.clear()


def describe_image(reference: str, platform: str | None, plain_http: bool) -> Described:
    """An image's config, without its files."""
    from gpucheck.images.opening import read_config
    from gpucheck.images.records import ImageError

    try:
        return read_config(reference, platform=platform, plain_http=plain_http)
    except ImageError as error:
        refuse(str(error))


def what_if(snapshot: Snapshot, changes: list[str]) -> Snapshot:
    """The snapshot with some facts as they are not."""
    from gpucheck.compat import merge
    from gpucheck.compat.change import BadChange
    from gpucheck.compat.inventory import BadNode

    print(f"gpucheck: what if {', '.join(changes)}", file=sys.stderr)
    try:
        return merge.what_if(snapshot, changes)
    except (BadChange, BadNode) as error:
        refuse(str(error))


def look_at_project(path: str, snapshot: str | None) -> Snapshot:
    """The snapshot of a project's folder, or the one in a file."""
    from gpucheck.facts import NO_PROJECT
    from gpucheck.project.observation import observe_project
    from gpucheck.system import Rootfs

    if snapshot is not None:
        found = read_snapshot(snapshot)
        if found.project == NO_PROJECT:
            refuse(
                f"--snapshot {snapshot}: no project was looked at; make one with: gpucheck project --format json -o FILE"
            )
        return found
    try:
        return observe_project(Rootfs(path))
    except NotADirectoryError:
        refuse(f"{path}: not a folder; name the project's folder: gpucheck project FOLDER")
    except OSError as error:
        refuse(f"{path}: {error.strerror}; name the project's folder: gpucheck project FOLDER")


def read_snapshot(path: str) -> Snapshot:
    """A snapshot file; also the JSON of a report, which holds one."""
    import json

    from gpucheck.codec import Malformed, decode
    from gpucheck.facts import SCHEMA, Snapshot

    try:
        with sys.stdin if path == "-" else open(path, encoding="utf-8") as file:
            data = json.load(file)
    except OSError as error:
        refuse(f"--snapshot {path}: {error.strerror}")
    except (ValueError, RecursionError) as error:
        refuse(f"--snapshot {path}: not JSON ({error})")
    if isinstance(data, dict) and isinstance(data.get("snapshot"), dict):
        data = data["snapshot"]
    found = data.get("schema") if isinstance(data, dict) else None
    if found != SCHEMA:
        refuse(
            f"--snapshot {path}: schema {found!r}, this gpucheck reads {SCHEMA}; take it again with: gpucheck snapshot -o FILE"
        )
    try:
        return decode(Snapshot, data)
    except Malformed as error:
        refuse(f"--snapshot {path}: {error}")
