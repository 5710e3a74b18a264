"""From the logs of a run to its report: read, merge, compare with the prediction, ask the doctor, render."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from gpucheck.elf import ElfError
from gpucheck.engine import judge
from gpucheck.facts import Difference, Seen
from gpucheck.finding import Report
from gpucheck.kb.traced import is_device, is_library
from gpucheck.probes import observe
from gpucheck.record import dataclass, replace
from gpucheck.render.text import render as render_report
from gpucheck.system import Local
from gpucheck.trace import agreement, document, loader_log, system_calls, text
from gpucheck.trace.child import Ended
from gpucheck.trace.loader_log import Image
from gpucheck.trace.lookup import Device, Lookup, Trace
from gpucheck.trace.merge import LocalFiles, merge
from gpucheck.trace.program import NotRunnable, Program, find_program
from gpucheck.trace.watch import Logs, Plan, read_lines

#: Programs whose libraries are predicted and compared: a build starts thousands.
MAX_PREDICTED = 4


@dataclass(frozen=True, slots=True)
class Run:
    """A command that has ended."""

    command: tuple[str, ...]
    program: Program
    plan: Plan
    ended: Ended
    seconds: float
    calls: str | None
    """The folder where its calls were written to; None when they were not watched."""


def report(run: Run, logs: Logs, format: str, show_all: bool, colour: bool) -> str:
    """The report on a run as text or JSON."""
    trace, differences = gather(run, logs)
    diagnosis: Report | None = None
    try:
        seen = observe(Local(), _python(trace, run.program))
        diagnosis = judge(replace(seen, differences=Seen(differences, "gpucheck trace")))
    except Exception as defect:
        failed = f"the diagnosis failed: {type(defect).__name__}: {defect}"
        trace = replace(trace, notes=(*trace.notes, failed))
    if diagnosis is not None:
        trace = _with_nodes(trace, diagnosis)
    calls = None
    killed = (run.ended.pid,) if run.ended.signal else ()
    if run.calls is not None:
        from gpucheck.trace.calls import read
        from gpucheck.trace.calls.text import render as render_calls

        calls = read(run.calls)
    if format == "json":
        return document.render(trace, differences, diagnosis, calls, killed)
    blocks = [text.render(trace, everything=show_all, colour=colour)]
    if calls is not None:
        blocks.append(render_calls(calls, colour, show_all, killed))
    if diagnosis is not None:
        # Without the title, which is the trace's here.
        blocks.append(render_report(diagnosis, "trace", colour).split("\n", 2)[2])
    return "\n" + "\n".join(blocks)


def gather(run: Run, logs: Logs) -> tuple[Trace, tuple[Difference, ...]]:
    """What the witnesses wrote, merged; and where it differs from the prediction."""
    images = _images(logs, run.ended)
    locate = _locator(run, os.environ, _folder())
    calls = None
    if log := logs.strace_log(run.ended.pid):
        alone = not images
        calls = system_calls.parse(
            read_lines(log, system_calls.MAX_LINE),
            lambda name, path: name == "exec" or is_library(path) or is_device(path) or (alone and ".so" in path),
        )
    seen = merge(images, calls, LocalFiles(Local(), run.program.interpreted), locate)
    lookups, differences = _compared(images, seen.lookups, locate)
    notes = run.plan.notes
    if "ld-debug" in run.plan.witnesses and not images:
        notes += (f"{run.program.interpreted}: the dynamic linker wrote nothing",)
    processes = tuple(
        # It complains of each symbol that dlsym does not find, too: the last word counts where the program failed to start.
        each if run.ended.status == 127 and each.pid == run.ended.pid else replace(each, last_error=None)
        for each in seen.processes
    )
    trace = Trace(
        run.command,
        run.ended.status,
        run.ended.signal,
        run.seconds,
        run.plan.witnesses,
        notes,
        processes,
        lookups,
        seen.devices,
        seen.helpers,
    )
    return trace, differences


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"  # It was removed.


def _images(logs: Logs, ended: Ended) -> tuple[Image, ...]:
    """The programs that the dynamic linker wrote of, the command's own process first."""
    found: list[Image] = []
    for path in sorted(logs.loader_logs(), key=lambda path: not path.endswith(f".{ended.pid}")):
        try:
            found += loader_log.parse(read_lines(path, loader_log.MAX_LINE), is_library)
        except OSError:
            continue
    return tuple(found)


def _compared(
    images: Sequence[Image], lookups: Sequence[Lookup], locate: Callable[[str], str]
) -> tuple[tuple[Lookup, ...], tuple[Difference, ...]]:
    """The lookups with what the model knows of them, and where it was wrong."""
    by_process: dict[int, list[Lookup]] = {}
    for lookup in lookups:
        by_process.setdefault(lookup.process, []).append(lookup)
    names = {image.program: locate(image.program) for image in images}
    differences: list[Difference] = []
    predicted = 0
    for index, mine in by_process.items():
        if index >= len(images) or images[index].forked or predicted == MAX_PREDICTED:
            continue
        image = images[index]
        predicted += 1
        try:
            prediction = agreement.predict(Local(), names[image.program], image, names, os.environ, _folder())
        except (ElfError, OSError):
            continue
        by_process[index] = list(agreement.explain(mine, prediction))
        differences += agreement.compare(prediction, by_process[index])
    return tuple(each for mine in by_process.values() for each in mine), tuple(differences)


def _locator(run: Run, env: Mapping[str, str], cwd: str) -> Callable[[str], str]:
    """Paths for what ld.so names by argv[0] or relative to the current directory, which the command may have left."""
    known = {run.command[0]: os.path.abspath(run.program.path)}

    def locate(name: str) -> str:
        if name.startswith("/") or not name:
            return name
        if name not in known:
            path = os.path.join(cwd, name)
            if "/" not in name:
                try:
                    path = os.path.abspath(find_program(name, env).path)
                except NotRunnable:
                    path = name
            known[name] = os.path.normpath(path) if "/" in path else path
        return known[name]

    return locate


def _python(trace: Trace, program: Program) -> str | None:
    """The Python that the command ran: its packages are those to look at."""
    programs = [program.interpreted, *(process.program for process in trace.processes)]
    return next(
        (path for path in programs if os.path.basename(path).startswith("python") and os.path.exists(path)), None
    )


def _with_nodes(trace: Trace, report: Report) -> Trace:
    """Where strace did not watch, what opening the nodes gives to gpucheck itself."""
    nodes = report.snapshot.nodes
    if "strace" in trace.witnesses or not isinstance(nodes, Seen):
        return trace
    devices = tuple(Device(node.path, node.error, 1, "gpucheck") for node in nodes.value if node.error != "?")
    return replace(trace, devices=devices)
