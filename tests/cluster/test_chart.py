"""The chart as real Helm renders it, and as a real API server takes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import IMAGE
from tests.cluster.control_plane import CHART, Binaries, ControlPlane

NAMED = {"image": {"repository": IMAGE}}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "no-guard": {"guard": {"enabled": False}},
    "digest": {"image": {"repository": "localhost:5000/gpu", "digest": "sha256:" + "0" * 64, "pullPolicy": "Always"}},
    "gke": {"host": {"extraPaths": [{"path": "/home/kubernetes/bin"}]}},
    "everything": {
        "imagePullSecrets": [{"name": "registry"}],
        "agent": {"interval": 300},
        "serviceAccount": {"name": "gpu-agent", "annotations": {"example.com/owner": "platform"}},
        "priorityClassName": "system-node-critical",
        "nodeSelector": {"nvidia.com/gpu.present": "true"},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}]}}},
        "tolerations": [{"operator": "Exists"}],
        "resources": {"requests": {"cpu": "20m"}, "limits": {"memory": "1Gi"}},
        "updateStrategy": {"type": "OnDelete", "rollingUpdate": None},
        "podAnnotations": {"example.com/scrape": "true"},
        "podLabels": {"example.com/team": "blue"},
    },
}  # fmt: skip


def render(binaries: Binaries, values: dict[str, Any]) -> dict[str, Any]:
    """The objects by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(binaries.render(values={**NAMED, **values})) if each}


def test_the_chart_passes_helms_lint(binaries: Binaries) -> None:
    ran = binaries.helm("lint", "--strict", str(CHART), "--set", f"image.repository={IMAGE}")
    assert "1 chart(s) linted, 0 chart(s) failed" in ran.stdout
    assert "[WARNING]" not in ran.stdout + ran.stderr


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_api_server_takes_it(control_plane: ControlPlane, variant: str) -> None:
    manifests = control_plane.binaries.render(values={**NAMED, **VARIANTS[variant]}, namespace="default")
    applied = control_plane.apply(manifests, "--dry-run=server")
    assert "daemonset.apps/gpucheck serverside-applied (server dry run)" in applied
    assert ("validatingadmissionpolicy" in applied) == (variant != "no-guard")


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_variant_gives_the_agent_a_privilege(binaries: Binaries, variant: str) -> None:
    pod = render(binaries, VARIANTS[variant])["DaemonSet"]["spec"]["template"]["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(mount["readOnly"] is True for mount in container["volumeMounts"])
    # DirectoryOrCreate, and with some runtimes '' too, would create what is missing on the node.
    assert all(volume.keys() == {"name", "hostPath"} for volume in pod["volumes"])
    assert all(volume["hostPath"]["type"] == "Directory" for volume in pod["volumes"])
    assert "/" not in {volume["hostPath"]["path"] for volume in pod["volumes"]}


def test_the_role_is_as_small_as_it_can_be(binaries: Binaries) -> None:
    objects = render(binaries, {})
    assert objects["ClusterRole"]["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
    ]
    assert objects["ClusterRoleBinding"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "gpucheck", "namespace": "gpu-system"}
    ]
    assert objects.keys() == {
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "DaemonSet",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }


def test_values_reach_their_places(binaries: Binaries) -> None:
    objects = render(binaries, {**VARIANTS["everything"], "runtimeClassName": "nvidia"})
    template = objects["DaemonSet"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["command"] == ["gpucheck", "agent", "--root", "/host", "--interval", "300"]
    assert {each["name"]: each.get("value") for each in container["env"]} == {
        "NODE_NAME": None,
        "PYTHONDONTWRITEBYTECODE": "1",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }
    assert template["spec"]["runtimeClassName"] == "nvidia"
    assert template["spec"]["priorityClassName"] == "system-node-critical"
    assert template["spec"]["serviceAccountName"] == "gpu-agent"
    assert template["metadata"]["labels"]["example.com/team"] == "blue"
    (condition,) = objects["ValidatingAdmissionPolicy"]["spec"]["matchConditions"]
    assert condition["expression"] == "request.userInfo.username == 'system:serviceaccount:gpu-system:gpu-agent'"


def test_images_are_named_by_tag_or_digest(binaries: Binaries) -> None:
    def image(**values: str) -> str:
        spec = render(binaries, {"image": {**NAMED["image"], **values}})["DaemonSet"]["spec"]["template"]["spec"]
        return str(spec["containers"][0]["image"])

    assert image() == f"{IMAGE}:0.1.0"
    assert image(tag="1.2.3") == f"{IMAGE}:1.2.3"
    assert image(tag="1.2.3", digest="sha256:" + "a" * 64) == f"{IMAGE}@sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "image.repository is not set: push gpu-capable/agent (make images ARGS='--only agent' builds it)"
             " and name it, for example --set image.repository=registry.example.com/gpu-capable/agent"),
        ({"imge": {}}, "at '': additional properties 'imge' not allowed"),
        ({"image": {"repo": "x"}}, "at '/image': additional properties 'repo' not allowed"),
        ({"image": {"digest": "latest"}}, "at '/image/digest': 'latest' does not match pattern '^$|^sha256:[0-9a-f]{64}$'"),
        ({"agent": {"interval": 0}}, "at '/agent/interval': minimum: got 0, want 5"),
        ({"agent": {"interval": "60s"}}, "at '/agent/interval': got string, want integer"),
        ({"guard": {"enabled": "yes"}}, "at '/guard/enabled': got string, want boolean"),
        ({"host": {"paths": [{"path": "/"}]}}, "at '/host/paths/0/path': '/' does not match pattern '^(/[A-Za-z0-9._-]+)+$'"),
        ({"host": {"extraPaths": [{"path": "/usr/../etc"}]}}, "at '/host/extraPaths/0/path': 'not' failed"),
        ({"host": {"extraPaths": [{"path": "/opt", "readOnly": False}]}},
         "at '/host/extraPaths/0': additional properties 'readOnly' not allowed"),
    ],
)  # fmt: skip
def test_values_that_are_wrong_are_named(binaries: Binaries, values: dict[str, Any], complaint: str) -> None:
    ran = binaries.helm("template", "gpucheck", str(CHART), "--values", "-", stdin=json.dumps(values))
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert complaint in ran.stderr


def test_a_cluster_that_is_too_old_is_refused(binaries: Binaries) -> None:
    ran = binaries.helm(
        "template", "gpucheck", str(CHART), "--set", f"image.repository={IMAGE}", "--kube-version", "1.29.9"
    )
    assert ran.returncode == 1
    assert "chart requires kubeVersion: >=1.30.0-0 which is incompatible with Kubernetes v1.29.9" in ran.stderr


def test_helm_installs_and_removes_it(control_plane: ControlPlane) -> None:
    helm, access = (
        control_plane.binaries.helm,
        ("--kubeconfig", str(control_plane.kubeconfig), "--namespace", "helm-test"),
    )
    ran = helm("install", "second", str(CHART), *access, "--create-namespace", "--set", f"image.repository={IMAGE}")
    assert ran.returncode == 0, ran.stderr
    assert "kubectl -n helm-test logs daemonset/second-gpucheck" in ran.stdout
    assert control_plane.read("daemonset", "second-gpucheck", "--namespace", "helm-test")["metadata"]["name"]
    ran = helm("uninstall", "second", *access)
    assert ran.returncode == 0, ran.stderr
    assert control_plane.kubectl("get", "clusterrole", "second-gpucheck").returncode == 1
