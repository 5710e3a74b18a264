"""Kubernetes manifests in a repository: which containers of a pod ask for GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpucheck.facts import Asking, Seen, Unseen, Why, Workload
from gpucheck.project.text import array, place, string, table

#: Where the pod is in each kind of object: https://kubernetes.io/docs/concepts/workloads/
PODS = {
    "Pod": (),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"), ("spec", "template")),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


def asks(text: str) -> bool:
    """Whether a file may be a manifest with a pod that asks for GPUs; a template of Helm is none before it is rendered."""
    return "nvidia.com/" in text and "containers:" in text and "{{" not in text


def parse_manifests(text: Seen[str]) -> Seen[tuple[Workload, ...]] | Unseen:
    """The pods of a file that ask for GPUs; UNREADABLE where it is not YAML, NOT_APPLICABLE where PyYAML is not installed."""
    try:
        import yaml
    except ImportError:
        return Unseen(Why.NOT_APPLICABLE, (text.source,), f"{text.source} is YAML, and PyYAML is not installed")
    try:
        documents = list(yaml.safe_load_all(text.value))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{text.source}:{mark.line + 1}" if mark else text.source
        return Unseen(Why.UNREADABLE, (where,), f"{where}: not YAML")
    objects = [one for each in documents for one in _objects(table(each))]
    return Seen(tuple(found for each in objects for found in _workloads(each, text)), text.source)


def _objects(document: Any) -> Iterator[Any]:
    """What kubectl takes a document for: an object, or a List of them. An alias in YAML may put a List into itself, so none is in another."""
    if string(document.get("kind")) == "List":
        yield from map(table, array(document.get("items")))
    else:
        yield document


def _workloads(document: Any, text: Seen[str]) -> Iterator[Workload]:
    kind = string(document.get("kind"))
    if kind not in PODS:
        return
    name = string(table(document.get("metadata")).get("name"))
    for key in PODS[kind]:
        document = table(document.get(key))
    spec = table(document.get("spec"))
    asking = (*_asking(spec, "containers", ""), *_asking(spec, "initContainers", "init"))
    if asking:
        yield Workload(kind, name, asking, place(text, "kind:", kind))


def _asking(spec: Any, key: str, role: str) -> Iterator[Asking]:
    for container in map(table, array(spec.get(key))):
        resources = table(container.get("resources"))
        # For extended resources a limit alone is also the request, and the two must be equal.
        wanted = {**table(resources.get("requests")), **table(resources.get("limits"))}
        # An init container that is restarted runs beside the others: a sidecar.
        mine = "" if string(container.get("restartPolicy")) == "Always" else role
        for resource, amount in wanted.items():
            if str(resource).startswith("nvidia.com/") and str(amount).isdigit() and int(amount):
                yield Asking(string(container.get("name")), str(resource), int(amount), mine)
