"""The agent's image, run by a real engine as the chart's pod says, against a real API server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from ci.engine import Engine
from gpucheck.cluster.agent import looker
from tests.cluster.conftest import NAMESPACE, Agent
from tests.cluster.test_agent import ours, server_of


@pytest.fixture
def container(engine: Engine) -> Iterator[str]:
    """The name of a container to be; whatever becomes of it, it is gone afterwards."""
    name = f"gpu-capable-test-agent-{uuid4().hex[:12]}"
    yield name
    engine.run("rm", "--force", name)


@pytest.fixture
def account(agent: Agent, tmp_path: Path) -> Path:
    """The folder that a kubelet mounts for the pod's ServiceAccount, readable for the pod's user."""
    (cluster,), (user,) = agent.config["clusters"], agent.config["users"]
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text(user["user"]["token"])
    shutil.copy(cluster["cluster"]["certificate-authority"], folder / "ca.crt")
    (folder / "namespace").write_text(NAMESPACE)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    return folder


def confine(pod: dict[str, Any]) -> list[str]:
    """A pod's security context and memory limit as options of ``docker run``. Refuses what it has no option for."""
    (container,) = pod["spec"]["containers"]
    context = {**pod["spec"]["securityContext"], **container["securityContext"]}
    # Docker's default profile is what RuntimeDefault names there: https://docs.docker.com/engine/security/seccomp/
    assert context.pop("seccompProfile") == {"type": "RuntimeDefault"}
    assert (context.pop("runAsNonRoot"), context.pop("readOnlyRootFilesystem")) == (True, True)
    assert (context.pop("allowPrivilegeEscalation"), context.pop("capabilities")) == (False, {"drop": ["ALL"]})
    user, group = context.pop("runAsUser"), context.pop("runAsGroup")
    assert not context
    memory = container["resources"]["limits"]["memory"].removesuffix("i").lower()
    return [
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        f"--user={user}:{group}",
        *(f"--memory={memory}", f"--memory-swap={memory}"),
    ]


def mount(pod: dict[str, Any], account: Path) -> list[str]:
    """A pod's volumes as options of ``docker run``; the projected one is the ServiceAccount's.

    Without their propagation: Docker refuses it where the machine's own mounts are private.
    """
    (container,) = pod["spec"]["containers"]
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    options = []
    for each in container["volumeMounts"]:
        volume = volumes[each["name"]]
        source = account if "projected" in volume else volume["hostPath"]["path"]
        assert each["readOnly"] is True
        options.append(f"--volume={source}:{each['mountPath']}:ro")
    return options


def test_the_chart_s_pod_publishes_from_the_image(
    agent: Agent, engine: Engine, images: dict[str, str], container: str, account: Path
) -> None:
    """The pod's command, mounts, user, limits and token. A loop that is told to stop, as a kubelet does it, ends well.

    The CA of the API server has no key usage, like those of many clusters: the image's Python would refuse it by default.
    """
    pod = agent.cluster.read("pod", f"agent-{agent.node}", "--namespace", NAMESPACE)
    server = urlsplit(server_of(agent.cluster))
    (spec,) = pod["spec"]["containers"]
    environment = {each["name"]: each.get("value", agent.node) for each in spec["env"]}
    assert [each["name"] for each in spec["env"] if "value" not in each] == ["NODE_NAME"]
    environment |= {"KUBERNETES_SERVICE_HOST": str(server.hostname), "KUBERNETES_SERVICE_PORT": str(server.port)}
    command = [
        *(engine.client, "run", "--name", container, "--network=host"),
        *confine(pod),
        *mount(pod, account),
        *(f"--env={name}={value}" for name, value in environment.items()),
        *(images["agent"], *spec["command"]),
    ]
    expected = looker("/")()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout
        try:
            line = running.stdout.readline()
            assert line.startswith(
                f"{agent.node}: GpuProblem={expected.condition.status} {expected.condition.reason}: "
            )
            labels, condition = ours(agent)
            stopped = engine.run("stop", "--time", "30", container)
            assert stopped.returncode == 0, stopped.stderr
            assert running.wait(30) == 0
            assert running.stdout.read() == ""
        finally:
            running.kill()
    assert condition == {
        "type": "GpuProblem",
        "status": expected.condition.status,
        "reason": expected.condition.reason,
        "message": expected.condition.message,
    }
    for name in ("verdict", "root-cause", "gpu.count", "driver.version"):
        assert labels.get(name) == expected.labels.get(f"gpu-capable/{name}")
    state = engine.run("inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", container)
    assert state.stdout == "false 0\n"


def test_the_chart_s_user_is_the_image_s(engine: Engine, images: dict[str, str], agent: Agent) -> None:
    pod = agent.cluster.read("pod", f"agent-{agent.node}", "--namespace", NAMESPACE)
    context = pod["spec"]["securityContext"]
    user = engine.run("image", "inspect", "--format", "{{.Config.User}}", images["agent"]).stdout.strip()
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
