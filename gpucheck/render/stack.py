"""The stack from the ML library down to the GPU: one line a layer, with its most telling fact."""

from __future__ import annotations

from collections.abc import Iterator

from gpucheck import kb
from gpucheck.facts import Library, Seen, Snapshot, Unseen, Why
from gpucheck.finding import Report, Severity
from gpucheck.record import dataclass
from gpucheck.rules import RULES, Layer, reading


@dataclass(frozen=True, slots=True)
class Line:
    """A layer as it is shown."""

    name: str
    fact: str
    state: str
    """``ok``, ``error``, ``warning``, ``note``, ``unknown`` or ``absent``."""


def stack(report: Report) -> tuple[Line, ...]:
    """The lines, top of the stack first. A layer with findings carries the mark of the heaviest."""
    snapshot = report.snapshot
    weights: dict[Layer, Severity] = {}
    layers = {rule.id: rule.layer for rule in RULES}
    for finding in report.everything():
        layer = layers.get(finding.rule)
        if layer and (layer not in weights or finding.severity.weight < weights[layer].weight):
            weights[layer] = finding.severity

    def line(layer: Layer | None, name: str, found: tuple[str, str]) -> Line:
        fact, state = found
        severity = weights.get(layer) if layer else None
        return Line(name, fact, severity.value if severity else state)

    return (
        line(Layer.FRAMEWORK, "ML libraries", _frameworks(snapshot)),
        line(Layer.LIBRARIES, "CUDA libraries", _libraries(snapshot)),
        line(Layer.RUNTIME, "CUDA runtime", _runtimes(snapshot)),
        line(Layer.ENVIRONMENT, "environment", _environment(snapshot)),
        line(None, "Kubernetes", _kubernetes(snapshot)),
        line(Layer.CONTAINER, "container", _container(snapshot)),
        line(Layer.USER_DRIVER, "libcuda", _libcuda(snapshot)),
        line(None, "NVML", _nvml(snapshot)),
        line(Layer.DEVICES, "device nodes", _nodes(snapshot)),
        line(Layer.KERNEL, "kernel driver", _kernel(snapshot)),
        line(Layer.HARDWARE, "GPU", _gpu(snapshot)),
    )


def _unseen(fact: Unseen, absent: str) -> tuple[str, str]:
    if fact.why is Why.ABSENT:
        return absent, "absent"
    return (fact.detail or "could not be looked at"), "absent" if fact.why is Why.NOT_APPLICABLE else "unknown"


def _frameworks(snapshot: Snapshot) -> tuple[str, str]:
    if not snapshot.frameworks:
        places = [python.prefix for python in snapshot.pythons]
        return (f"none in {', '.join(places)}" if places else "no Python environment found"), "absent"
    return ", ".join(
        f"{framework.name} {framework.version} "
        + (
            "(CPU build)"
            if framework.gpu is False
            else f"(CUDA {framework.cuda or framework.cuda_major})"
            if framework.cuda_major
            else "(build unknown)"
        )
        for framework in snapshot.frameworks
    ), "ok"


def _libraries(snapshot: Snapshot) -> tuple[str, str]:
    names = {row.stem: row.library for row in kb.sonames() if row.stem != "libcudart"} if snapshot.libraries else {}
    found: dict[str, list[Library]] = {}
    for library in snapshot.libraries:
        stem = library.soname.split(".so", 1)[0]
        if stem in names:
            found.setdefault(names[stem], []).append(library)
    if not found:
        return "none (wheels and toolkits bring them)", "absent"
    shown = [
        f"{name} {copies[0].version or copies[0].soname.rsplit('.so.', 1)[-1]}"
        + (f" (+{len(copies) - 1} more)" if len(copies) > 1 else "")
        for name, copies in found.items()
    ]
    return ", ".join(shown[:4]) + (f", {len(shown) - 4} others" if len(shown) > 4 else ""), "ok"


def _runtimes(snapshot: Snapshot) -> tuple[str, str]:
    if not snapshot.runtimes:
        return "no libcudart (many programs carry it inside)", "absent"
    parts = []
    for runtime in snapshot.runtimes:
        answer = (
            f", {reading.spell(runtime.count.value)}"
            if isinstance(runtime.count, Seen)
            else f", {runtime.trouble}"
            if runtime.trouble
            else ""
        )
        parts.append(f"{runtime.library.soname} {runtime.cuda or '(version unknown)'}{answer}")
    return "; ".join(parts), "ok"


def _environment(snapshot: Snapshot) -> tuple[str, str]:
    telling = [
        f"{name}={value!r}" if not value or " " in value else f"{name}={value}"
        for name, value in snapshot.environment
        if name
        in (
            "CUDA_VISIBLE_DEVICES",
            "NVIDIA_VISIBLE_DEVICES",
            "NVIDIA_DRIVER_CAPABILITIES",
            "LD_LIBRARY_PATH",
            "LD_PRELOAD",
            "CUDA_HOME",
        )
    ]
    return (", ".join(telling), "ok") if telling else ("nothing set that hides or moves a GPU", "ok")


def _kubernetes(snapshot: Snapshot) -> tuple[str, str]:
    if isinstance(snapshot.kubernetes, Unseen):
        return _unseen(snapshot.kubernetes, "not in a pod")
    found = snapshot.kubernetes.value
    return "in a pod" + (f", namespace {found.namespace}" if found.namespace else "") + (
        f", node {found.node}" if found.node else ""
    ), "ok"


def _container(snapshot: Snapshot) -> tuple[str, str]:
    if isinstance(snapshot.container, Seen):
        return f"{snapshot.container.value.kind} ({snapshot.container.value.evidence})", "ok"
    if isinstance(snapshot.runtime, Seen):
        found = snapshot.runtime.value
        engines = ", ".join(found.engines) or "no engine"
        toolkit = (
            f"NVIDIA container toolkit {found.toolkit_version}".rstrip()
            if found.toolkit
            else "no NVIDIA container toolkit"
        )
        return f"not in one; {engines}; {toolkit}", "ok"
    return _unseen(snapshot.container, "not in one")


def _libcuda(snapshot: Snapshot) -> tuple[str, str]:
    chosen = reading.chosen_libcuda(snapshot)
    if chosen is None and not isinstance(snapshot.cuda, Seen):
        elsewhere = f"; {len(snapshot.libcuda_copies)} elsewhere on disk" if snapshot.libcuda_copies else ""
        if not isinstance(snapshot.host.kernel, Seen):
            return f"none in these files{elsewhere}; a container gets the host's", "absent"
        return f"libcuda.so.1 is not found{elsewhere}", "absent"
    parts = []
    if chosen:
        parts.append(f"{chosen.version or chosen.kind} at {chosen.path} (by {snapshot.libcuda.how})")
    if isinstance(snapshot.cuda, Seen):
        answer = snapshot.cuda.value
        if not chosen:
            parts.append(answer.library)
        parts.append(f"CUDA {answer.cuda}" if answer.cuda else "CUDA version unknown")
        parts += [reading.spell(call) for call in answer.calls if call.name == "cuInit"]
        if answer.trouble:
            parts.append(answer.trouble)
    elif snapshot.cuda.why is Why.UNREADABLE:
        return ", ".join([*parts, snapshot.cuda.detail]), "unknown"
    return ", ".join(parts), "ok" if isinstance(snapshot.cuda, Seen) and snapshot.cuda.value.gpus else "unknown"


def _nvml(snapshot: Snapshot) -> tuple[str, str]:
    if isinstance(snapshot.nvml, Unseen):
        return _unseen(snapshot.nvml, "libnvidia-ml.so.1 is not found")
    found = snapshot.nvml.value
    failed = next((call for call in found.calls if call.code), None)
    if failed:
        row = kb.nvml_codes().get(failed.code)
        return f"{failed.name} = {failed.code}" + (f" ({row.name})" if row else ""), "unknown"
    if found.trouble:
        return found.trouble, "unknown"
    return f"driver {found.driver}, {len(found.gpus)} GPU{'s' if len(found.gpus) != 1 else ''}", "ok"


def _nodes(snapshot: Snapshot) -> tuple[str, str]:
    if isinstance(snapshot.nodes, Unseen):
        return _unseen(snapshot.nodes, "none")
    present = [node for node in snapshot.nodes.value if node.present]
    if not present:
        return "none (/dev/nvidiactl: ENOENT)", "absent"
    return ", ".join(
        node.path.removeprefix("/dev/") + (f" {node.error}" if node.error not in ("", "?") else "") for node in present
    ), "ok"


def _kernel(snapshot: Snapshot) -> tuple[str, str]:
    kernel = snapshot.kernel
    if isinstance(kernel.driver, Seen):
        uvm = ""
        if isinstance(kernel.modules, Seen):
            uvm = ", nvidia_uvm loaded" if "nvidia_uvm" in kernel.modules.value else ", nvidia_uvm not loaded"
        return f"nvidia {kernel.driver.value.version} ({kernel.driver.value.flavour}){uvm}", "ok"
    if isinstance(kernel.modules, Seen) and kernel.modules.value:
        return f"no nvidia; {', '.join(kernel.modules.value)} loaded", "absent"
    return _unseen(kernel.driver, "nvidia is not loaded")


def _gpu(snapshot: Snapshot) -> tuple[str, str]:
    for fact in (snapshot.cuda, snapshot.nvml):
        if isinstance(fact, Seen) and fact.value.gpus:
            return "; ".join(_names(fact.value.gpus)), "ok"
    if isinstance(snapshot.pci, Unseen):
        return _unseen(snapshot.pci, "no PCI bus here")
    gpus = [device for device in snapshot.pci.value if device.kind == "gpu"]
    if not gpus:
        return "none on the PCI bus", "absent"
    return ", ".join(
        f"{gpu.model or gpu.address} (10de:{gpu.device}, driver {gpu.driver or 'none'})" for gpu in gpus
    ), "ok"


def _names(gpus: tuple[object, ...]) -> Iterator[str]:
    counted: dict[str, int] = {}
    for gpu in gpus:
        capability = getattr(gpu, "capability", None)
        label = getattr(gpu, "name", "") + (f" (compute capability {capability})" if capability else "")
        counted[label] = counted.get(label, 0) + 1
    for label, count in counted.items():
        yield f"{count} x {label}"
