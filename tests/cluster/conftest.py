"""A control plane for the session, and the chart applied to it. Each worker of pytest-xdist has its own (3 s, 300 MB)."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.cluster.control_plane import SCRIPT, Binaries, ControlPlane
from tests.images.conftest import engine, images, once, pyz, upstream
from tests.needs import missing

#: Of the images' tests too: the agent's image is run here.
__all__ = ["engine", "images", "once", "pyz", "upstream"]

NAMESPACE = "gpu-system"
ACCOUNT = "gpucheck"
IMAGE = "registry.example.com/gpu-capable/agent"


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    ran = subprocess.run([SCRIPT, "bin"], check=False, capture_output=True, text=True)
    if ran.returncode:
        missing("the Helm chart and the node agent on a real control plane", "ci/setup/kubernetes.sh build")
    return Binaries(Path(ran.stdout.strip()))


@pytest.fixture(scope="session")
def control_plane(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    state = tmp_path_factory.mktemp("control-plane")
    # It stops at the end of its standard input: also when this process is killed.
    with subprocess.Popen([SCRIPT, "run", state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout and running.stdin
        line = running.stdout.readline().strip()
        assert line.startswith("KUBECONFIG="), line
        yield ControlPlane(binaries, Path(line.removeprefix("KUBECONFIG=")))
        running.stdin.close()
        assert running.wait(30) == 0


@pytest.fixture(scope="session")
def installed(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the chart applied, as its values are."""
    control_plane.do("create", "namespace", NAMESPACE)
    control_plane.apply(control_plane.binaries.render("--set", f"image.repository={IMAGE}"))
    return control_plane


@dataclass(frozen=True)
class Agent:
    """A node, and what the agent's pod on it has in its hands."""

    cluster: ControlPlane
    node: str
    kubeconfig: Path

    @property
    def config(self) -> Any:
        """What the kubeconfig says: one cluster, one user with a token."""
        return json.loads(self.kubeconfig.read_text())

    def kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.cluster.kubectl(*arguments, kubeconfig=self.kubeconfig)

    def patch(self, path: str, kind: str, body: str) -> tuple[int, str]:
        """The status and the body of the API server's answer."""
        (cluster,), (user,) = self.config["clusters"], self.config["users"]
        request = urllib.request.Request(
            cluster["cluster"]["server"] + path,
            data=body.encode(),
            headers={"Content-Type": kind, "Authorization": f"Bearer {user['user']['token']}"},
            method="PATCH",
        )
        trust = ssl.create_default_context(cafile=cluster["cluster"]["certificate-authority"])
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def new_node(control_plane: ControlPlane) -> Callable[[], str]:
    """Makes a Node with a name of its own."""

    def make() -> str:
        name = f"node-{uuid4().hex[:12]}"
        control_plane.add_node(name)
        return name

    return make


@pytest.fixture
def agent(installed: ControlPlane, new_node: Callable[[], str], tmp_path: Path) -> Agent:
    node = new_node()
    pod = installed.add_pod(node, NAMESPACE, "gpucheck")
    kubeconfig = installed.kubeconfig_for(installed.token(ACCOUNT, NAMESPACE, pod), tmp_path / "agent.kubeconfig")
    installed.wait_for_guard(kubeconfig, node)
    return Agent(installed, node, kubeconfig)
