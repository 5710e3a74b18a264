"""A real control plane as tests use it: kubectl, helm, and tokens as a kubelet would hand them to a pod."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "helm" / "gpucheck"
SCRIPT = REPOSITORY / "ci" / "setup" / "kubernetes.sh"

#: A node as a kubelet registers it, as far as it matters here.
READY = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}


@dataclass(frozen=True)
class Binaries:
    """The folder with kubectl and helm."""

    folder: Path

    def helm(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "helm", *arguments], check=False, input=stdin, capture_output=True, text=True, timeout=60
        )

    def render(self, *arguments: str, namespace: str = "gpu-system", values: dict[str, Any] | None = None) -> str:
        """What Helm makes of the chart; ``values`` as a values file. The version is the server's, as in an install."""
        command = ["template", "gpucheck", str(CHART), "--namespace", namespace, "--kube-version", "1.34.0"]
        ran = self.helm(*command, *arguments, "--values", "-", stdin=json.dumps(values or {}))
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@dataclass(frozen=True)
class ControlPlane:
    """etcd and kube-apiserver on loopback."""

    binaries: Binaries
    kubeconfig: Path
    """The administrator's."""

    def kubectl(
        self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.binaries.folder / "kubectl", "--kubeconfig", kubeconfig or self.kubeconfig, *arguments],
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def do(self, *arguments: str, stdin: str = "") -> str:
        """As the administrator; must succeed."""
        ran = self.kubectl(*arguments, stdin=stdin)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def read(self, *arguments: str) -> Any:
        return json.loads(self.do("get", *arguments, "--output", "json"))

    def apply(self, manifests: str, *arguments: str) -> str:
        return self.do("apply", "--server-side", "--validate=strict", "--filename", "-", *arguments, stdin=manifests)

    def add_node(self, name: str) -> None:
        """A Node with a label, a taint and a condition of its kubelet's."""
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux", "example.com/team": "blue"}},
        }
        self.do("create", "--filename", "-", stdin=json.dumps(node))
        status = {"status": {"conditions": [READY], "capacity": {"cpu": "8", "nvidia.com/gpu": "2"}}}
        self.do("patch", "node", name, "--subresource=status", "--type=strategic", "--patch", json.dumps(status))

    def add_pod(self, node: str, namespace: str, daemonset: str) -> dict[str, Any]:
        """The pod that the DaemonSet's controller would make for a node: its template, on the node."""
        template = self.read("daemonset", daemonset, "--namespace", namespace)["spec"]["template"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"agent-{node}", "namespace": namespace, "labels": template["metadata"]["labels"]},
            "spec": {**template["spec"], "nodeName": node},
        }
        created: dict[str, Any] = json.loads(
            self.do("create", "--filename", "-", "--output", "json", stdin=json.dumps(pod))
        )
        return created

    def token(self, account: str, namespace: str, pod: dict[str, Any] | None = None) -> str:
        """A ServiceAccount's token, bound to a pod as a kubelet asks for it, or to nothing."""
        bound = []
        if pod:
            metadata = pod["metadata"]
            bound = [
                "--bound-object-kind=Pod",
                f"--bound-object-name={metadata['name']}",
                f"--bound-object-uid={metadata['uid']}",
            ]
        return self.do("create", "token", account, "--namespace", namespace, *bound).strip()

    def kubeconfig_for(self, token: str, path: Path) -> Path:
        """The administrator's kubeconfig with a token in place of the certificate."""
        config = json.loads(self.do("config", "view", "--raw", "--output", "json"))
        config["users"] = [{"name": "admin", "user": {"token": token}}]
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path

    def wait_for_guard(self, kubeconfig: Path, node: str) -> None:
        """Until the API server enforces the admission policy, which it learns of a moment after it was created."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            ran = self.kubectl("annotate", "node", node, "probe=1", "--dry-run=server", kubeconfig=kubeconfig)
            if "ValidatingAdmissionPolicy" in ran.stderr:
                return
        raise AssertionError(f"the admission policy was not enforced in 30 s: {ran.stdout}{ran.stderr}")
