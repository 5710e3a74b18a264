"""Kubernetes manifests: who asks for GPUs, in each kind of object, and what is no manifest."""

from __future__ import annotations

import sys

import pytest

from gpucheck.facts import Asking, Seen, Unseen, Why, Workload
from gpucheck.project.manifests import asks, parse_manifests

CONTAINERS = """\
containers:
- name: train
  resources: {limits: {nvidia.com/gpu: 2, memory: 4Gi}}
- name: web
initContainers:
- name: fetch
  resources: {requests: {nvidia.com/gpu: "1"}}
- name: export
  restartPolicy: Always
  resources: {limits: {nvidia.com/mig-1g.10gb: 1}}
"""
ASKING = (
    Asking("train", "nvidia.com/gpu", 2, ""),
    Asking("fetch", "nvidia.com/gpu", 1, "init"),
    Asking("export", "nvidia.com/mig-1g.10gb", 1, ""),
)


def indented(text: str, depth: int) -> str:
    return "".join(f"{' ' * depth}{line}\n" for line in text.splitlines())


def parse(text: str) -> Seen[tuple[Workload, ...]] | Unseen:
    return parse_manifests(Seen(text, "pod.yaml"))


def workloads(text: str) -> list[tuple[str, str, tuple[Asking, ...]]]:
    found = parse(text)
    assert isinstance(found, Seen), found
    return [(each.kind, each.name, each.asking) for each in found.value]


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("Pod", ()),
        ("Deployment", ("spec", "template")),
        ("Job", ("spec", "template")),
        ("CronJob", ("spec", "jobTemplate", "spec", "template")),
    ],
)
def test_each_kind_has_its_pod_where_kubernetes_has_it(kind: str, keys: tuple[str, ...]) -> None:
    text = f"kind: {kind}\nmetadata: {{name: one}}\n"
    for depth, key in enumerate((*keys, "spec")):
        text += f"{'  ' * depth}{key}:\n"
    text += indented(CONTAINERS, 2 * (len(keys) + 1))
    assert workloads(text) == [(kind, "one", ASKING)]


def test_a_list_and_several_documents() -> None:
    pod = "kind: Pod\nmetadata: {name: NAME}\nspec:\n" + indented(CONTAINERS, 2)
    item = "- " + indented(pod.replace("NAME", "listed"), 2).lstrip()
    text = f"kind: List\nitems:\n{item}---\n{pod.replace('NAME', 'after')}---\nkind: Service\n---\n"
    assert workloads(text) == [("Pod", "listed", ASKING), ("Pod", "after", ASKING)]


@pytest.mark.parametrize(
    "text",
    [
        "&a\nkind: List\nitems: [*a, *a]\n",
        "kind: List\nitems: {kind: Pod}\n",
        "kind: [Pod]\n",
        "kind: Pod\nspec: [containers]\n",
        "kind: Pod\nspec: {containers: {resources: 1}}\n",
        "kind: Pod\nspec: {containers: [{resources: {limits: {nvidia.com/gpu: many}}}]}\n",
        "kind: Pod\nspec: {containers: [{resources: {limits: {nvidia.com/gpu: 0}}}]}\n",
        "- &b [*b]\n",
        "",
    ],
)
def test_what_holds_no_request(text: str) -> None:
    assert workloads(text) == []


def test_what_is_not_yaml_is_said_with_its_line() -> None:
    found = parse("kind: Pod\nspec: [\n")
    assert isinstance(found, Unseen)
    assert (found.why, found.detail) == (Why.UNREADABLE, "pod.yaml:3: not YAML")
    assert isinstance(parse("[" * 5000), Unseen)


def test_without_pyyaml_it_is_not_read_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    found = parse("kind: Pod\n")
    assert isinstance(found, Unseen)
    assert found.why is Why.NOT_APPLICABLE
    assert "PyYAML is not installed" in found.detail


def test_a_template_of_helm_is_no_manifest() -> None:
    text = "containers:\n  limits: {nvidia.com/gpu: 1}\n"
    assert asks(text)
    assert not asks(text + "  image: {{ .Values.image }}\n")
    assert not asks("containers: []\n")
