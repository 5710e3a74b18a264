"""``gpucheck agent``: look at the node, judge, publish; once or again and again."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Final

from gpucheck import rules
from gpucheck.cluster.api import Cluster, NoCluster, Nodes, NotPublished, Published, publish
from gpucheck.cluster.node import Node
from gpucheck.cluster.status import CONDITION, HEARTBEAT, NodeStatus, describe
from gpucheck.engine import judge
from gpucheck.facts import Seen, Snapshot, Unseen, Why
from gpucheck.probes import driver, observe
from gpucheck.record import replace
from gpucheck.rules import Layer
from gpucheck.system import Local
from gpucheck.versions import CudaVersion

#: Exit codes, as everywhere in gpucheck.
FINE: Final = 0
USAGE: Final = 2
NOT_TOLD: Final = 3

#: What a node answers for: the devices and the driver that it offers. Which libraries a program finds there and what it
#: was built for are questions to the containers, which bring their own.
RULES: Final = tuple(
    rule
    for rule in rules.RULES
    if rule.layer in (Layer.HARDWARE, Layer.KERNEL, Layer.DEVICES) or rule.id == "driver-does-not-answer"
)

#: Seconds, the most that the loop waits after failures.
LONGEST: Final = 300.0

#: Runs in a child process: a library may hang or crash. No cuInit, which as root makes device nodes.
ASK: Final = """
import ctypes, sys
version = ctypes.c_int(0)
sys.exit(ctypes.CDLL(sys.argv[1]).cuDriverGetVersion(ctypes.byref(version)) or print(version.value))
"""

#: Seconds that the node's libcuda has to name its CUDA version.
DEADLINE: Final = 10.0


def run(
    environment: Mapping[str, str], *, node: str = "", root: str = "/", once: bool = False, interval: float = 60.0
) -> int:
    """The command. ``node`` defaults to NODE_NAME. Returns the exit code; a problem of the GPUs is none of the agent's.

    0: published (``once``) or told to stop; 2: usage; 3: not published (``once``). The loop goes on after failures.
    """
    name = node or environment.get("NODE_NAME", "")
    if not name:
        return _fail(USAGE, "no node name: set NODE_NAME (fieldRef spec.nodeName in a pod) or give --node NAME")
    try:
        look = looker(root)
        cluster = Cluster(environment)
    except OSError as error:
        return _fail(USAGE, f"{root}: {error.strerror}")
    except NoCluster as error:
        return _fail(USAGE, str(error))
    if once:
        try:
            status = look()
            _tell(name, status, publish(status, name, cluster, datetime.now(timezone.utc), timedelta(0)))
        except NotPublished as error:
            return _fail(NOT_TOLD, str(error))
        return FINE
    # Taken when waited for, and not by a handler: one that sets an event can interrupt the wait for that event while it
    # holds its lock, and never return. Process 1 of a container has no default action for SIGTERM: pid_namespaces(7).
    ends = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    go_on(name, look, cluster, interval, lambda seconds: signal.sigtimedwait(ends, seconds) is not None)
    return FINE


def go_on(
    node: str, look: Callable[[], NodeStatus], nodes: Nodes, interval: float, wait: Callable[[float], bool]
) -> None:
    """Look and publish until ``wait(seconds)`` says true. After failures the pause doubles, up to five minutes."""
    pause = interval
    while True:
        try:
            status = look()
            done = publish(status, node, nodes, datetime.now(timezone.utc), HEARTBEAT)
            pause = interval
            if done.labels or done.condition:
                _tell(node, status, done)
        except NotPublished as error:
            pause = min(max(LONGEST, interval), pause * 2)
            print(f"gpucheck agent: {error}; next attempt in {pause:.0f} s", file=sys.stderr, flush=True)
        # Agents of a thousand nodes that were started together should not write together.
        if wait(pause * random.uniform(0.9, 1.1)):
            return


def looker(root: str) -> Callable[[], NodeStatus]:
    """What looks at the node below ``root`` and judges it. Raises ``OSError`` when there is no such folder."""
    if root == "/":
        return lambda: describe(judge(observe(Local()), RULES))
    node = Node(root)

    def look() -> NodeStatus:
        snapshot = observe_node(node)
        return describe(judge(snapshot, RULES), ask_libcuda(node, snapshot))

    return look


def observe_node(node: Node) -> Snapshot:
    """The snapshot of a node. Device nodes are not missing where /dev is not mounted: they were not looked at.

    Where the container toolkit gave this container NVML (runtimeClassName), it answers for the node's driver.
    """
    snapshot = observe(node)
    interview = driver.Interview(Local(), DEADLINE)
    interview.ask("nvml", "libnvidia-ml.so.1")
    interview.finish()
    nvml = driver.nvml(interview)
    if isinstance(nvml, Seen):
        snapshot = replace(snapshot, nvml=nvml)
    if node.exists("/dev"):
        return snapshot
    return replace(snapshot, nodes=Unseen(Why.UNREADABLE, ("/dev",), "/dev of the node is not mounted"))


def ask_libcuda(node: Node, snapshot: Snapshot) -> CudaVersion | None:
    """The CUDA version that the node's own libcuda names; None when it has none, or it cannot be loaded here.

    cuDriverGetVersion needs no device and no cuInit (CUDA Driver API, Version Management). Asked only where a kernel
    module is loaded that the library belongs to: another library would name another version.
    """
    if not isinstance(snapshot.kernel.driver, Seen):
        return None
    version = snapshot.kernel.driver.value.version
    for copy in snapshot.libcuda_copies:
        place = node.outside(copy.path) if copy.kind == "driver" and copy.version == version.text else None
        if place:
            ran = Local().start(sys.executable, "-I", "-S", "-c", ASK, place, timeout=DEADLINE).finish()
            return CudaVersion.from_code(int(ran.stdout)) if ran.status == 0 else None
    return None


def _tell(node: str, status: NodeStatus, done: Published) -> None:
    removed = sum(value is None for value in done.labels.values())
    print(
        f"{node}: {CONDITION}={status.condition.status} {status.condition.reason}: {status.condition.message}"
        f" [labels set: {len(done.labels) - removed}, removed: {removed}]",
        flush=True,
    )


def _fail(code: int, message: str) -> int:
    print(f"gpucheck agent: {message}", file=sys.stderr, flush=True)
    return code
