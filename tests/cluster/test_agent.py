"""The agent as a process: a node's files in, labels and a condition on a real API server out."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpucheck.cluster.agent import ask_libcuda, go_on, observe_node
from gpucheck.cluster.api import NotPublished
from gpucheck.cluster.node import Node
from gpucheck.cluster.status import Condition, NodeStatus
from gpucheck.versions import CudaVersion
from tests.cluster.conftest import Agent
from tests.cluster.control_plane import REPOSITORY, ControlPlane
from tests.needs import missing

CACHE = Path(
    os.environ.get("GPU_CAPABLE_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-capable"
)
LIBCUDA = CACHE / "drivers/535/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.535.261.03"


def start(
    root: Path | str, kubeconfig: Path | None, *more: str, before: tuple[str, ...] = (), **environment: str
) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "NODE_NAME"))}
    access = {"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}
    return subprocess.Popen(
        [*before, sys.executable, "-m", "gpucheck", "agent", "--root", str(root), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**inherited, **access, **environment},
    )


def run(root: Path | str, kubeconfig: Path | None, **environment: str) -> tuple[int, str, str]:
    with start(root, kubeconfig, "--once", before=(), **environment) as agent:
        stdout, stderr = agent.communicate(timeout=60)
        return agent.returncode, stdout, stderr


@pytest.fixture
def node_root(tmp_path: Path) -> Path:
    """The files of a node with an H100, and the driver's module and real libraries of 535, but no device nodes."""
    if not LIBCUDA.exists():
        missing("the CUDA version of a real libcuda", "ci/setup/drivers.sh 535")
    root = tmp_path / "host"
    libraries = root / "usr/lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    shutil.copy(LIBCUDA, libraries)
    (libraries / "libcuda.so.1").symlink_to(LIBCUDA.name)
    (libraries / "libnvidia-ptxjitcompiler.so.1").touch()
    for path, text in {
        "etc/os-release": 'ID=ubuntu\nVERSION_ID="22.04"\n',
        "proc/version": "Linux version 6.1.0\n",
        "proc/modules": "nvidia_uvm 1 0 - Live 0x0\nnvidia 1 1 nvidia_uvm, Live 0x0\n",
        "proc/devices": "Character devices:\n195 nvidia-frontend\n235 nvidia-uvm\n",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.261.03  Tue Jun 10 2025\n",
        "sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
        "sys/bus/pci/devices/0000:01:00.0/device": "0x2330\n",
        "sys/bus/pci/devices/0000:01:00.0/class": "0x030200\n",
        "dev/null": "",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "sys/bus/pci/devices/0000:01:00.0/driver").symlink_to("../../../../bus/pci/drivers/nvidia")
    return root


def ours(agent: Agent) -> tuple[dict[str, str], dict[str, Any]]:
    """The labels and the condition of the agent's node, without the prefix and the times."""
    node = agent.cluster.read("node", agent.node)
    labels = node["metadata"]["labels"]
    (condition,) = [each for each in node["status"]["conditions"] if each["type"] == "GpuProblem"]
    times = ("lastHeartbeatTime", "lastTransitionTime")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", condition[name]) for name in times)
    return (
        {key.removeprefix("gpu-capable/"): value for key, value in labels.items() if key.startswith("gpu-capable/")},
        {key: value for key, value in condition.items() if key not in times},
    )


HEALTHY = {
    "verdict": "compatible",
    "driver.version": "535.261.03",
    "driver.branch": "535",
    "cuda.version": "12.2",
    "cuda.code": "12020",
    "gpu.count": "1",
}


def add_device_nodes(root: Path) -> None:
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (root / "dev" / name).touch()


def test_a_node_from_its_files_to_its_labels(agent: Agent, node_root: Path) -> None:
    add_device_nodes(node_root)
    assert run(node_root, agent.kubeconfig, NODE_NAME=agent.node) == (
        0,
        f"{agent.node}: GpuProblem=False NoProblemFound: nothing found that keeps code from the GPUs"
        " [labels set: 6, removed: 0]\n",
        "",
    )
    assert ours(agent) == (
        HEALTHY,
        {
            "type": "GpuProblem",
            "status": "False",
            "reason": "NoProblemFound",
            "message": "nothing found that keeps code from the GPUs",
        },
    )


def test_a_problem_comes_with_its_remedy(agent: Agent, node_root: Path) -> None:
    code, _, stderr = run(node_root, agent.kubeconfig, NODE_NAME=agent.node)
    assert (code, stderr) == (0, "")
    labels, condition = ours(agent)
    assert labels == {**HEALTHY, "verdict": "incompatible", "root-cause": "device-node-missing"}
    assert condition == {
        "type": "GpuProblem",
        "status": "True",
        "reason": "DeviceNodeMissing",
        "message": "The device nodes of the driver are missing: /dev/nvidiactl; sudo nvidia-modprobe -c 0 -u "
        "(where it is not installed: sudo apt install nvidia-modprobe, or run nvidia-smi as root once); "
        "in a systemd service: PrivateDevices=no",
    }


def test_a_driver_that_was_unloaded_takes_its_labels_along(agent: Agent, node_root: Path) -> None:
    add_device_nodes(node_root)
    run(node_root, agent.kubeconfig, NODE_NAME=agent.node)
    shutil.rmtree(node_root / "proc/driver")
    (node_root / "proc/modules").write_text("")
    code, stdout, _ = run(node_root, agent.kubeconfig, NODE_NAME=agent.node)
    assert code == 0
    assert "[labels set: 2, removed: 4]" in stdout
    labels, condition = ours(agent)
    assert labels == {"verdict": "incompatible", "root-cause": "kernel-driver-not-loaded", "gpu.count": "1"}
    assert condition["reason"] == "KernelDriverNotLoaded"


def test_a_node_whose_dev_is_not_mounted_is_unknown(agent: Agent, node_root: Path) -> None:
    shutil.rmtree(node_root / "dev")
    assert run(node_root, agent.kubeconfig, NODE_NAME=agent.node)[0] == 0
    labels, condition = ours(agent)
    assert labels["verdict"] == "unknown"
    assert condition == {
        "type": "GpuProblem",
        "status": "Unknown",
        "reason": "CouldNotTell",
        "message": "could not tell; device nodes: /dev of the node is not mounted",
    }


def test_this_machine_is_published_as_it_is(agent: Agent) -> None:
    """Whether it has a GPU or not: the root is its own."""
    code, _, stderr = run("/", agent.kubeconfig, NODE_NAME=agent.node)
    assert (code, stderr) == (0, "")
    labels, condition = ours(agent)
    assert labels["verdict"] in ("compatible", "conditional", "incompatible", "unknown")
    assert (condition["status"], labels["verdict"]) != ("True", "compatible")


def test_in_a_pod_the_mounted_token_is_used(agent: Agent, node_root: Path, tmp_path: Path) -> None:
    """The files that a kubelet mounts are at a fixed place, so the agent runs in a mount namespace that has them there."""
    (cluster,), (user,) = agent.config["clusters"], agent.config["users"]
    account = tmp_path / "run/secrets/kubernetes.io/serviceaccount"
    account.mkdir(parents=True)
    (account / "token").write_text(user["user"]["token"])
    shutil.copy(cluster["cluster"]["certificate-authority"], account / "ca.crt")
    inside = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*inside, "true"], check=False, capture_output=True).returncode
    ):
        missing("the agent with a pod's mounted token", "run as root, or allow user namespaces")
    host, port = cluster["cluster"]["server"].removeprefix("https://").split(":")
    with start(
        node_root,
        None,
        "--once",
        before=(*inside, "sh", "-c", 'mount --bind "$0" /run && exec "$@"', str(tmp_path / "run")),
        NODE_NAME=agent.node,
        KUBERNETES_SERVICE_HOST=host,
        KUBERNETES_SERVICE_PORT=port,
    ) as running:
        stdout, stderr = running.communicate(timeout=60)
    assert (running.returncode, stderr) == (0, "")
    assert stdout.startswith(f"{agent.node}: GpuProblem=True DeviceNodeMissing")
    assert ours(agent)[0]["driver.version"] == "535.261.03"


# -- what the driver's own library says --------------------------------------------------------------------------------


def test_the_nodes_libcuda_names_its_cuda_version(node_root: Path) -> None:
    node = Node(str(node_root))
    assert ask_libcuda(node, observe_node(node)) == CudaVersion(12, 2)


def test_a_libcuda_of_another_driver_is_not_asked(node_root: Path) -> None:
    version = node_root / "proc/driver/nvidia/version"
    version.write_text(version.read_text().replace("535.261.03", "580.95.05"))
    node = Node(str(node_root))
    assert ask_libcuda(node, observe_node(node)) is None


def test_a_libcuda_that_cannot_be_loaded_names_none(node_root: Path) -> None:
    (node_root / f"usr/lib/x86_64-linux-gnu/{LIBCUDA.name}").write_bytes(b"\x7fELF" + b"\0" * 100)
    node = Node(str(node_root))
    assert ask_libcuda(node, observe_node(node)) is None


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_no_node_name(tmp_path: Path) -> None:
    assert run(tmp_path, None) == (
        2,
        "",
        "gpucheck agent: no node name: set NODE_NAME (fieldRef spec.nodeName in a pod) or give --node NAME\n",
    )


def test_no_root(tmp_path: Path) -> None:
    missing_root = tmp_path / "none"
    assert run(missing_root, None, NODE_NAME="x") == (
        2,
        "",
        f"gpucheck agent: {missing_root}: No such file or directory\n",
    )


def test_no_cluster(tmp_path: Path) -> None:
    code, stdout, stderr = run(tmp_path, None, NODE_NAME="x", HOME=str(tmp_path))
    assert (code, stdout) == (2, "")
    assert re.fullmatch(
        r"gpucheck agent: no cluster: .+ Run in a pod with a ServiceAccount, or set KUBECONFIG\n", stderr
    )


def test_no_kubernetes_client(tmp_path: Path) -> None:
    (tmp_path / "kubernetes.py").write_text("raise ImportError")
    assert run(tmp_path, None, NODE_NAME="x", PYTHONPATH=str(tmp_path)) == (
        2,
        "",
        "gpucheck agent: the Kubernetes client is not installed: pip install 'gpu-capable[kubernetes]'\n",
    )


def test_a_cluster_that_is_not_reached(control_plane: ControlPlane, tmp_path: Path) -> None:
    server, elsewhere = server_of(control_plane), f"https://127.0.0.1:{free_port()}"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(control_plane.kubeconfig.read_text().replace(server, elsewhere))
    assert run(tmp_path, kubeconfig, NODE_NAME="x") == (
        3,
        "",
        f"gpucheck agent: cannot reach {elsewhere}: Failed to establish a new connection: [Errno 111] Connection refused\n",
    )


def test_a_cluster_that_is_not_trusted(control_plane: ControlPlane, tmp_path: Path) -> None:
    """Its certificate is of another CA: here one that signed nothing."""
    folder = control_plane.kubeconfig.parent
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        control_plane.kubeconfig.read_text().replace(str(folder / "ca.crt"), str(folder / "admin.crt"))
    )
    code, stdout, stderr = run(tmp_path, kubeconfig, NODE_NAME="x")
    assert (code, stdout) == (3, "")
    assert re.fullmatch(
        rf"gpucheck agent: cannot reach {server_of(control_plane)}: .*CERTIFICATE_VERIFY_FAILED.*\n", stderr
    )


def server_of(control_plane: ControlPlane) -> str:
    found = re.search(r"https://127\.0\.0\.1:\d+", control_plane.kubeconfig.read_text())
    assert found
    return found[0]


def test_a_node_that_does_not_exist(agent: Agent, tmp_path: Path) -> None:
    assert run(tmp_path, agent.kubeconfig, NODE_NAME="nowhere") == (
        3,
        "",
        f'gpucheck agent: {server_of(agent.cluster)} refused to read node nowhere (404): nodes "nowhere" not found\n',
    )


def test_a_token_without_rights(agent: Agent, tmp_path: Path) -> None:
    agent.cluster.do("create", "serviceaccount", agent.node, "--namespace", "default")
    stranger = agent.cluster.kubeconfig_for(agent.cluster.token(agent.node, "default"), tmp_path / "stranger")
    assert run(tmp_path, stranger, NODE_NAME=agent.node) == (
        3,
        "",
        f'gpucheck agent: {server_of(agent.cluster)} refused to read node {agent.node} (403): nodes "{agent.node}" is'
        f' forbidden: User "system:serviceaccount:default:{agent.node}" cannot get resource "nodes" in API group ""'
        " at the cluster scope\n",
    )


def test_another_nodes_agent(agent: Agent, new_node: Callable[[], str], tmp_path: Path) -> None:
    other = new_node()
    code, stdout, stderr = run(tmp_path, agent.kubeconfig, NODE_NAME=other)
    assert (code, stdout) == (3, "")
    assert stderr.endswith("denied request: the gpucheck agent may only change the node that it runs on\n")


# -- the loop ----------------------------------------------------------------------------------------------------------


class Unreachable:
    """A cluster that does not answer for the first calls, then has the node."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.patched: list[bool] = []

    def read(self, name: str) -> dict[str, Any]:
        if self.failures:
            self.failures -= 1
            raise NotPublished("cannot reach https://10.96.0.1:443: timed out")
        return {"metadata": {"name": name}}

    def patch(self, name: str, change: object, *, status: bool) -> None:
        self.patched.append(status)


def test_the_loop_waits_longer_after_each_failure_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    nodes, pauses = Unreachable(failures=4), list[float]()

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) == 6

    status = NodeStatus({"gpu-capable/verdict": "compatible"}, Condition("False", "NoProblemFound", "fine"))
    go_on("n", lambda: status, nodes, 60.0, wait)
    # Within a tenth: agents that were started together spread out.
    expected = [120, 240, 300, 300, 60, 60]
    assert all(0.9 * about <= pause <= 1.1 * about for pause, about in zip(pauses, expected, strict=True))
    assert nodes.patched == [False, True] * 2
    assert capsys.readouterr().err.splitlines() == [
        f"gpucheck agent: cannot reach https://10.96.0.1:443: timed out; next attempt in {about} s"
        for about in expected[:4]
    ]


def test_the_loop_ends_when_it_is_told_to(agent: Agent, node_root: Path) -> None:
    with start(node_root, agent.kubeconfig, NODE_NAME=agent.node) as running:
        assert running.stdout
        try:
            assert running.stdout.readline().startswith(f"{agent.node}: GpuProblem=True DeviceNodeMissing")
            running.send_signal(signal.SIGTERM)
            assert running.wait(30) == 0
        finally:
            running.kill()
