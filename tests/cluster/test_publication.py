"""The agent on a real API server, with its ServiceAccount's token: what it writes, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from gpucheck.cluster.api import Cluster, Published, publish
from gpucheck.cluster.status import NodeStatus, describe
from tests.cluster.conftest import ACCOUNT, NAMESPACE, Agent
from tests.cluster.control_plane import READY
from tests.cluster.reports import BARE, finding, report, with_answers, with_driver, with_pci

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc)
H100 = ("NVIDIA H100 80GB HBM3", "9.0")
HEALTHY = describe(report(with_answers(with_pci(with_driver(BARE, "580.95.05"), 2), H100, H100)))
NO_DRIVER = describe(report(with_pci(BARE, 2), finding("no-module", "no kernel driver is loaded", "modprobe nvidia")))

#: What the chart does not own on the nodes of these tests.
FOREIGN = {"kubernetes.io/os": "linux", "example.com/team": "blue"}


def write(agent: Agent, status: NodeStatus, now: datetime) -> Published:
    return publish(status, agent.node, Cluster({"KUBECONFIG": str(agent.kubeconfig)}), now)


def condition_of(agent: Agent) -> dict[str, Any]:
    conditions = agent.cluster.read("node", agent.node)["status"]["conditions"]
    assert [each["type"] for each in conditions if each["type"] != "GpuProblem"] == ["Ready"]
    (found,) = [each for each in conditions if each["type"] == "GpuProblem"]
    return dict(found)


def test_labels_and_condition_are_there_for_all_to_read(agent: Agent) -> None:
    assert write(agent, HEALTHY, NOON) == Published(HEALTHY.labels, True)
    node = agent.cluster.read("node", agent.node)
    assert node["metadata"]["labels"] == {
        **FOREIGN,
        "gpu-capable/verdict": "compatible",
        "gpu-capable/driver.version": "580.95.05",
        "gpu-capable/driver.branch": "580",
        "gpu-capable/cuda.version": "13.0",
        "gpu-capable/cuda.code": "13000",
        "gpu-capable/gpu.count": "2",
        "gpu-capable/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "gpu-capable/gpu.compute-capability": "9.0",
    }
    assert condition_of(agent) == {
        "type": "GpuProblem",
        "status": "False",
        "reason": "NoProblemFound",
        "message": "nothing found that keeps code from the GPUs",
        "lastHeartbeatTime": "2026-11-24T12:00:00Z",
        "lastTransitionTime": "2026-11-24T12:00:00Z",
    }


def test_a_second_run_writes_nothing_until_the_heartbeat_is_due(agent: Agent) -> None:
    write(agent, HEALTHY, NOON)
    before = agent.cluster.read("node", agent.node)
    assert write(agent, HEALTHY, NOON + timedelta(minutes=4)) == Published({}, False)
    assert agent.cluster.read("node", agent.node) == before

    assert write(agent, HEALTHY, NOON + timedelta(minutes=5)) == Published({}, True)
    after = agent.cluster.read("node", agent.node)
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    condition = condition_of(agent)
    assert condition["lastHeartbeatTime"] == "2026-11-24T12:05:00Z"
    assert condition["lastTransitionTime"] == "2026-11-24T12:00:00Z"


def test_a_driver_that_vanished_takes_its_labels_along(agent: Agent) -> None:
    write(agent, HEALTHY, NOON)
    written = write(agent, NO_DRIVER, NOON + timedelta(minutes=1))
    assert sorted(key for key, value in written.labels.items() if value is None) == [
        "gpu-capable/cuda.code",
        "gpu-capable/cuda.version",
        "gpu-capable/driver.branch",
        "gpu-capable/driver.version",
        "gpu-capable/gpu.compute-capability",
        "gpu-capable/gpu.product",
    ]
    assert agent.cluster.read("node", agent.node)["metadata"]["labels"] == {
        **FOREIGN,
        "gpu-capable/verdict": "incompatible",
        "gpu-capable/root-cause": "no-module",
        "gpu-capable/gpu.count": "2",
    }
    assert condition_of(agent) == {
        "type": "GpuProblem",
        "status": "True",
        "reason": "NoModule",
        "message": "no kernel driver is loaded; modprobe nvidia",
        "lastHeartbeatTime": "2026-11-24T12:01:00Z",
        "lastTransitionTime": "2026-11-24T12:01:00Z",
    }


def test_what_others_wrote_stays(agent: Agent) -> None:
    before = agent.cluster.read("node", agent.node)
    write(agent, HEALTHY, NOON)
    after = agent.cluster.read("node", agent.node)
    assert after["spec"] == before["spec"]
    assert {key: value for key, value in after["status"].items() if key != "conditions"} == {
        key: value for key, value in before["status"].items() if key != "conditions"
    }
    assert READY.items() <= next(each for each in after["status"]["conditions"] if each["type"] == "Ready").items()


def test_a_node_with_neither_labels_nor_conditions(agent: Agent) -> None:
    agent.cluster.do("label", "node", agent.node, "kubernetes.io/os-", "example.com/team-")
    bare = {"status": {"conditions": None}}
    agent.cluster.do("patch", "node", agent.node, "--subresource=status", "--type=merge", "--patch", json.dumps(bare))
    write(agent, HEALTHY, NOON)
    node = agent.cluster.read("node", agent.node)
    assert node["metadata"]["labels"] == HEALTHY.labels
    assert [each["type"] for each in node["status"]["conditions"]] == ["GpuProblem"]


def test_a_node_with_much_on_it_stays_within_the_guards_budget(agent: Agent) -> None:
    """Expressions have a cost limit: https://kubernetes.io/docs/reference/using-api/cel/#resource-constraints"""
    labels = {"metadata": {"labels": {f"example.com/label-{number}": "x" * 63 for number in range(200)}}}
    agent.cluster.do("patch", "node", agent.node, "--patch", json.dumps(labels))
    full = {
        "conditions": [{**READY, "type": f"Condition{number}", "message": "m" * 500} for number in range(50)],
        "images": [{"names": [f"example.com/{'i' * 100}:{number}"], "sizeBytes": 1} for number in range(200)],
    }
    agent.cluster.do("patch", "node", agent.node, "--subresource=status", "--patch", json.dumps({"status": full}))
    assert write(agent, HEALTHY, NOON) == Published(HEALTHY.labels, True)


# -- what is refused ---------------------------------------------------------------------------------------------------


def patch(change: dict[str, Any], *, subresource: str = "", kind: str = "strategic-merge-patch") -> tuple[str, ...]:
    """Not with kubectl, which reads what it patches first, and would be refused for that."""
    return ("PATCH", subresource, kind, json.dumps(change))


def status(change: dict[str, Any], kind: str = "strategic-merge-patch") -> tuple[str, ...]:
    return patch({"status": change}, subresource="/status", kind=kind)


GUARD = "ValidatingAdmissionPolicy 'gpucheck' with binding 'gpucheck' denied request: "
RBAC = 'User "system:serviceaccount:gpu-system:gpucheck" cannot {} at the cluster scope'
NODE = 'nodes "{node}" is forbidden: '
LABELS = NODE + GUARD + "the gpucheck agent may only change labels that start with gpu-capable/"
SPEC = NODE + GUARD + "the gpucheck agent may not change the spec of a node"
METADATA = NODE + GUARD + "of a node's metadata the gpucheck agent may only change labels"
CONDITION = NODE + GUARD + "the gpucheck agent may only change the condition GpuProblem"
STATUS = NODE + GUARD + "of a node's status the gpucheck agent may only change a condition"
IN_NAMESPACE = (
    '{} is forbidden: User "system:serviceaccount:gpu-system:gpucheck" cannot {} in the namespace "kube-system"'
)

REFUSED = {
    "delete-node": (("delete", "node", "{node}"), NODE + RBAC.format('delete resource "nodes" in API group ""')),
    "list-nodes": (("get", "nodes"), "nodes is forbidden: " + RBAC.format('list resource "nodes" in API group ""')),
    "list-secrets": (
        ("get", "secrets", "--all-namespaces"),
        "secrets is forbidden: " + RBAC.format('list resource "secrets" in API group ""'),
    ),
    "read-a-secret": (
        ("get", "secret", "x", "--namespace", "kube-system"),
        IN_NAMESPACE.format('secrets "x"', 'get resource "secrets" in API group ""'),
    ),
    "start-a-pod": (
        ("run", "x", "--image=x", "--namespace", "kube-system"),
        IN_NAMESPACE.format("pods", 'create resource "pods" in API group ""'),
    ),
    "change-its-role": (
        ("delete", "clusterrole", "gpucheck"),
        'clusterroles.rbac.authorization.k8s.io "gpucheck" is forbidden: '
        + RBAC.format('delete resource "clusterroles" in API group "rbac.authorization.k8s.io"'),
    ),
    "lift-the-guard": (
        ("delete", "validatingadmissionpolicy", "gpucheck"),
        'validatingadmissionpolicies.admissionregistration.k8s.io "gpucheck" is forbidden: '
        + RBAC.format('delete resource "validatingadmissionpolicies" in API group "admissionregistration.k8s.io"'),
    ),
    "add-a-foreign-label": (("label", "node", "{node}", "nvidia.com/gpu.present=true"), LABELS),
    "change-a-foreign-label": (("label", "node", "{node}", "example.com/team=red", "--overwrite"), LABELS),
    "remove-a-foreign-label": (("label", "node", "{node}", "example.com/team-"), LABELS),
    "take-a-label-like-ours": (("label", "node", "{node}", "gpu-capable.example.com/verdict=compatible"), LABELS),
    "label-through-the-status": (patch({"metadata": {"labels": {"x": "y"}}}, subresource="/status"), LABELS),
    "taint": (("taint", "node", "{node}", "gpu=broken:NoSchedule"), SPEC),
    "cordon": (patch({"spec": {"unschedulable": True}}), SPEC),
    "set-the-provider": (patch({"spec": {"providerID": "x"}}), SPEC),
    "annotate": (("annotate", "node", "{node}", "x=y"), METADATA),
    "add-a-finalizer": (patch({"metadata": {"finalizers": ["example.com/x"]}}), METADATA),
    "say-the-node-is-not-ready": (status({"conditions": [{**READY, "status": "False"}]}), CONDITION),
    "add-another-condition": (status({"conditions": [{**READY, "type": "Other"}]}), CONDITION),
    "remove-other-conditions": (status({"conditions": []}, kind="merge-patch"), CONDITION),
    "take-gpus-away": (status({"capacity": {"nvidia.com/gpu": "0"}}), STATUS),
    "add-capacity": (status({"allocatable": {"example.com/free": "1"}}), STATUS),
    "move-the-address": (status({"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}), STATUS),
    "fake-the-kernel": (status({"nodeInfo": {"kernelVersion": "9.9"}}), STATUS),
}  # fmt: skip


def attempt_at(agent: Agent, command: tuple[str, ...]) -> str:
    """Do it as the agent; must be refused. The API server's words."""
    if command[0] == "PATCH":
        _, subresource, kind, body = command
        code, answer = agent.patch(f"/api/v1/nodes/{agent.node}{subresource}", f"application/{kind}+json", body)
        assert code == 403, answer
        return str(json.loads(answer)["message"])
    ran = agent.kubectl(*(part.format(node=agent.node) for part in command))
    assert ran.returncode == 1, ran.stdout
    return ran.stderr


@pytest.mark.parametrize("attempt", REFUSED)
def test_all_else_is_refused(agent: Agent, attempt: str) -> None:
    write(agent, HEALTHY, NOON)
    command, message = REFUSED[attempt]
    before = agent.cluster.read("node", agent.node)
    assert message.format(node=agent.node) in attempt_at(agent, command)
    assert agent.cluster.read("node", agent.node) == before


@pytest.mark.parametrize("subresource", ["", "/status"])
def test_another_node_is_refused(agent: Agent, new_node: Callable[[], str], subresource: str) -> None:
    other = new_node()
    change = json.dumps({"metadata": {"labels": {"gpu-capable/verdict": "compatible"}}})
    code, answer = agent.patch(f"/api/v1/nodes/{other}{subresource}", "application/merge-patch+json", change)
    assert code == 403
    assert json.loads(answer)["message"] == (
        f'nodes "{other}" is forbidden: {GUARD}the gpucheck agent may only change the node that it runs on'
    )
    assert agent.cluster.read("node", other)["metadata"]["labels"] == FOREIGN


def test_a_token_that_is_bound_to_no_pod_changes_no_node(agent: Agent) -> None:
    unbound = agent.cluster.kubeconfig_for(
        agent.cluster.token(ACCOUNT, NAMESPACE), agent.kubeconfig.with_name("unbound")
    )
    ran = agent.cluster.kubectl("label", "node", agent.node, "gpu-capable/verdict=compatible", kubeconfig=unbound)
    assert ran.returncode == 1
    assert f"{GUARD}the gpucheck agent may only change the node that it runs on" in ran.stderr


def test_the_guard_is_in_nobody_elses_way(agent: Agent) -> None:
    agent.cluster.do("label", "node", agent.node, "example.com/team=red", "--overwrite")
    agent.cluster.do("cordon", agent.node)
