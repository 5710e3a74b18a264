"""Nodes as a person names them: typed as ``driver=...,gpu=...``, a file or folder of snapshots or nodes, a cloud's node image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from gpucheck.codec import Malformed, decode
from gpucheck.compat.node import (
    MODES,
    Node,
    NodeGpu,
    default_architecture,
    default_mode,
    named_gpu,
    numbers,
    of_snapshot,
)
from gpucheck.facts import SCHEMA, Snapshot
from gpucheck.kb import clouds
from gpucheck.versions import CudaVersion, DriverVersion

#: What may be typed of a node, and in files of nodes.
KEYS = ("name", "driver", "gpu", "toolkit", "mode", "arch", "cuda")

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


class BadNode(ValueError):
    """A node that cannot be understood; the message says why and what is expected."""


def read(text: str) -> tuple[Node, ...]:
    """The nodes that an argument of ``--node`` names. Raises ``BadNode``."""
    if os.path.exists(text):
        return tuple(_path(text))
    first, _, rest = text.partition(",")
    if "=" in first:
        return (typed(text),)
    found = cloud(first)
    if not found:
        import difflib

        close = difflib.get_close_matches(first, [row.preset for row in clouds.node_images()], 3)
        raise BadNode(
            f"{text}: no file, no driver=VERSION,gpu=NAME and no node image of a cloud"
            + (f"; did you mean {' or '.join(close)}?" if close else "; list those: gpucheck kb clouds")
        )
    for key, given in _pairs(text, rest).items():
        found = tuple(change(node, key, "+".join(given)) for node in found)
    return found


def typed(text: str) -> Node:
    """``driver=550.54.15,gpu=A100-SXM4-80GB,toolkit=1.18,mode=cdi``; ``gpu`` may be repeated, all else is optional."""
    values = _pairs(text, text)
    told = {key: given[0] for key, given in values.items() if key != "gpu"}
    name = told.pop("name", text)
    return _node(name, values.get("gpu"), told, text, "as typed")


def _pairs(place: str, text: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for pair in text.split(",") if text else ():
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not value:
            raise BadNode(f"{place}: {pair!r} is not KEY=VALUE; keys: {', '.join(KEYS)}")
        if key not in KEYS:
            raise BadNode(f"{place}: unknown key {key!r}; keys: {', '.join(KEYS)}")
        values.setdefault(key, []).append(value)
        if len(values[key]) > 1 and key != "gpu":
            raise BadNode(f"{place}: {key} is given twice")
    return values


def change(node: Node, key: str, value: str) -> Node:
    """The same node with one fact changed, as ``--set`` asks for."""
    from gpucheck.record import replace

    if key == "name":
        return replace(node, name=value)
    source = f"{node.source}, --set {key}={value}".removeprefix(", ")
    if key == "gpu":
        found = tuple(named_gpu(name, source) for name in value.split("+"))
        return replace(node, gpus=found, architecture=default_architecture(found), driven=False, source=source)
    changed = _node(node.name, None, {key: value}, f"--set {key}={value}", source)
    if key == "driver":
        return replace(node, driver=changed.driver, cuda=None, driven=False, source=source)
    if key == "toolkit":
        return replace(node, toolkit=value, mode=default_mode(value), source=source)
    if key == "mode":
        return replace(node, mode=value, source=source)
    if key == "arch":
        return replace(node, architecture=changed.architecture, source=source)
    return replace(node, cuda=changed.cuda, source=source)


def _node(name: str, gpus: list[str] | None, told: dict[str, str], place: str, source: str) -> Node:
    driver = DriverVersion.parse(told["driver"]) if "driver" in told else None
    if "driver" in told and driver is None:
        raise BadNode(f"{place}: driver {told['driver']!r} is no version such as 550.54.15 or 550")
    cuda = CudaVersion.parse(told["cuda"]) if "cuda" in told else None
    if "cuda" in told and cuda is None:
        raise BadNode(f"{place}: cuda {told['cuda']!r} is no version such as 12.4")
    toolkit, mode = told.get("toolkit", ""), told.get("mode", "")
    if toolkit and len(numbers(toolkit)) < 2:
        raise BadNode(f"{place}: toolkit {toolkit!r} is no version such as 1.18.0")
    if mode and mode not in MODES:
        raise BadNode(f"{place}: mode {mode!r}; choose one of {', '.join(MODES)}")
    found: tuple[NodeGpu, ...] | None = None
    if gpus is not None:
        found = () if gpus == ["none"] else tuple(dict.fromkeys(named_gpu(gpu, source) for gpu in gpus))
    architecture = told.get("arch", "")
    architecture = ARCHITECTURES.get(architecture, architecture) or default_architecture(found)
    return Node(name, driver, found, architecture, toolkit, mode or default_mode(toolkit), cuda, source=source)


# -- files -------------------------------------------------------------------------------------------------------------


def _path(path: str) -> Iterator[Node]:
    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if name.endswith((".json", ".jsonl")))
        if not names:
            raise BadNode(f"{path}: no *.json in this folder")
        for name in names:
            yield from _file(os.path.join(path, name))
    else:
        yield from _file(path)


def _file(path: str) -> Iterator[Node]:
    """A snapshot, a report that holds one, a node, or many of them: a JSON list, or one a line."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise BadNode(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadNode(f"{path}: not text in UTF-8") from None
    stem = os.path.basename(path).rpartition(".")[0]
    documents = _documents(path, text)
    for index, document in enumerate(documents):
        name = stem if len(documents) == 1 else f"{stem}[{index}]"
        yield _document(document, name, path)


def _documents(path: str, text: str) -> list[Any]:
    try:
        data = json.loads(text)
    except RecursionError:
        raise BadNode(f"{path}: nested too deeply") from None
    except ValueError as error:
        try:
            data = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            raise BadNode(f"{path}: not JSON ({error})") from None
    found = data if isinstance(data, list) else [data]
    if not found:
        raise BadNode(f"{path}: no node in it")
    return found


def _document(document: Any, name: str, path: str) -> Node:
    if isinstance(document, dict) and isinstance(document.get("snapshot"), dict):
        document = document["snapshot"]
    if not isinstance(document, dict):
        raise BadNode(f"{path}: expected a snapshot or a node, not {document!r:.60}")
    if "host" in document or "schema" in document:
        if document.get("schema") != SCHEMA:
            raise BadNode(f"{path}: schema {document.get('schema')!r}, this gpucheck reads {SCHEMA}")
        try:
            snapshot = decode(Snapshot, document)
        except Malformed as error:
            raise BadNode(f"{path}: {error}") from None
        inside = snapshot.kubernetes
        named = getattr(getattr(inside, "value", None), "node", "")
        return of_snapshot(snapshot, named or name, path)
    gpus = document.get("gpu")
    listed = [gpus] if isinstance(gpus, str) else gpus
    told = {key: value for key, value in document.items() if key != "gpu"}
    if unknown := sorted(document.keys() - set(KEYS)):
        raise BadNode(f"{path}: unknown {', '.join(map(repr, unknown))}; a node has {', '.join(KEYS)}")
    if not all(isinstance(value, str) for value in (*told.values(), *(listed or ()))):
        raise BadNode(f'{path}: all values of a node are text, such as "driver": "550.54.15"')
    return _node(told.pop("name", name), listed, told, path, path)


# -- clouds ------------------------------------------------------------------------------------------------------------


def cloud(preset: str) -> tuple[Node, ...]:
    """The node image of that name: a node for each driver that it is known to have; empty for a name that there is not."""
    return tuple(
        _of_row(row, driver, row.preset if len(row.drivers) == 1 else f"{row.preset}/{driver}")
        for row in clouds.node_images()
        if row.preset == preset
        for driver in row.drivers
    )


def _of_row(row: clouds.NodeImage, driver: DriverVersion, name: str) -> Node:
    gpu = named_gpu(row.gpu, row.reference)
    found = (gpu,) if gpu.capability else None
    # Only Google's own device plugin is told by the row: it mounts a folder and knows no NVIDIA toolkit.
    mode = "gke" if row.service.startswith("GKE") else ""
    return Node(name, driver, found, default_architecture(found), "", mode, source=row.reference)
