"""What the driver answers: its libraries are called in child processes with a deadline, never here.

A hang, a crash or garbage in the child is evidence about the driver.
"""

from __future__ import annotations

import ast
import os
import pkgutil
import signal
import sys
from importlib import util
from typing import cast

from gpucheck.facts import Call, Cuda, Gpu, Library, Nvml, Runtime, Seen, Unseen, Why
from gpucheck.record import dataclass
from gpucheck.system import Ran, Running, System
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion

#: Seconds. A cold cuInit of eight GPUs without persistence mode takes several; NVML on a failing GPU blocks for over 45 s
#: (NVIDIA/DCGM#313), which is then said.
DEADLINE = 30.0

NOT_LIVE = Unseen(Why.NOT_APPLICABLE, (), "files answer no driver call")


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said to a question."""

    calls: tuple[Call, ...]
    facts: tuple[tuple[str, object], ...]
    trouble: str

    def fact(self, name: str) -> object:
        """The value of a fact; None when it was not said."""
        return dict(self.facts).get(name)

    def version(self, name: str) -> CudaVersion | None:
        """A fact that is a version in the driver's code: 12020."""
        code = self.fact(name)
        return CudaVersion.from_code(code) if isinstance(code, int) else None


class Interview:
    """A child process that puts questions to the driver's libraries, all at once."""

    def __init__(self, system: System, deadline: float = DEADLINE) -> None:
        """Start it; ``deadline`` counts from now, in seconds. Raises ``OSError`` when no process can be started."""
        script = pkgutil.get_data(__package__ or "", "child.py") or b""
        self.deadline = deadline
        # -I -S: nothing of the user's Python environment may run before the driver is asked.
        self._child: Running = system.start(sys.executable, "-I", "-S", "-c", script.decode(), timeout=deadline)
        self._answers: dict[str, Answer] = {}
        self._unasked: dict[str, Answer] = {}

    def ask(self, ask: str, library: str) -> None:
        """Put a question: ``cuda``, ``nvml`` or ``cudart``, to a library by name or path."""
        pynvml = util.find_spec("pynvml") if ask == "nvml" else None
        folder = os.path.dirname(pynvml.origin) if pynvml and pynvml.origin else ""
        if ask == "nvml" and not folder:
            self._unasked[f"{ask} {library}"] = Answer((), (("dlopen-error", "nvidia-ml-py is not installed"),), "")
            return
        self._child.send("\t".join((f"{ask} {library}", ask, library, folder)) + "\n")

    def finish(self) -> None:
        """Wait for the answers to all questions."""
        self._answers = {**parse(self._child.finish(), self.deadline), **self._unasked}

    def answer(self, ask: str, library: str) -> Answer:
        """What was said; to be called after ``finish``."""
        return self._answers.get(f"{ask} {library}") or Answer((), (), "the child process that asks did not start")


def parse(ran: Ran, deadline: float) -> dict[str, Answer]:
    """Answers by question. Lines that are not the child's are passed over: a driver may print what it likes."""
    said: dict[str, list[dict[str, object]]] = {}
    for line in ran.stdout.splitlines():
        try:
            entry = ast.literal_eval(line)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            said.setdefault(entry["id"], []).append(entry)
    return {question: _answer(entries, ran, deadline) for question, entries in said.items()}


def _answer(entries: list[dict[str, object]], ran: Ran, deadline: float) -> Answer:
    calls: list[Call] = []
    facts: list[tuple[str, object]] = []
    calling = ""
    status: int | None = None
    for entry in entries:
        code = entry.get("code")
        if "calling" in entry:
            calling = f" in {entry['calling']}"
        elif "call" in entry and isinstance(code, int):
            calls.append(Call(str(entry["call"]), code))
            calling = ""
        elif "fact" in entry:
            facts.append((str(entry["fact"]), entry.get("value")))
            calling = ""
        elif isinstance(entry.get("status"), int):
            status = cast("int", entry["status"])
    return Answer(tuple(calls), tuple(facts), _trouble(status, ran, deadline, calling))


def _trouble(status: int | None, ran: Ran, deadline: float, calling: str) -> str:
    if status == 0:
        return ""
    if status is None and ran.status is None:
        return f"no answer within {deadline:g} s{calling}"
    if status is not None and status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}{calling}"
        except ValueError:
            return f"killed by signal {-status}{calling}"
    last = ran.stderr.strip().splitlines()[-1:]
    return f"ended with status {status}{calling}" + (f": {last[0]:.200}" if last else "")


def cuda(interview: Interview) -> Seen[Cuda] | Unseen:
    """What libcuda answered; ABSENT with the linker's words when it cannot be loaded."""
    answer = interview.answer("cuda", "libcuda.so.1")
    library = answer.fact("library")
    if not isinstance(library, str):
        return _not_loaded(answer, "libcuda.so.1")
    count = answer.fact("count")
    found = Cuda(
        library,
        _telling(answer.calls),
        answer.version("cuda"),
        _gpus(answer),
        answer.trouble,
        count if isinstance(count, int) else None,
    )
    return Seen(found, f"calls to {library} in a child process")


def nvml(interview: Interview) -> Seen[Nvml] | Unseen:
    """What NVML answered; ABSENT with the linker's words when it cannot be loaded."""
    answer = interview.answer("nvml", "libnvidia-ml.so.1")
    library = answer.fact("library")
    if not isinstance(library, str):
        return _not_loaded(answer, "libnvidia-ml.so.1")
    driver, count = answer.fact("driver"), answer.fact("count")
    confidential, ready = answer.fact("confidential"), answer.fact("ready")
    told = [
        call
        for call in answer.calls
        if call.name == "nvmlInit_v2" or call.code in BROKEN or (call.code and call.name in OPENING)
    ]
    found = Nvml(
        library,
        tuple(dict.fromkeys(told)),
        DriverVersion.parse(driver) if isinstance(driver, str) else None,
        answer.version("cuda"),
        _gpus(answer),
        answer.trouble,
        count if isinstance(count, int) else None,
        tuple(dict.fromkeys(str(value) for name, value in answer.facts if name == "slow")),
        confidential if isinstance(confidential, bool) else None,
        ready if isinstance(ready, bool) else None,
    )
    return Seen(found, f"calls to {library} in a child process")


#: NVML_ERROR_CORRUPTED_INFOROM, NVML_ERROR_GPU_IS_LOST and NVML_ERROR_RESET_REQUIRED in nvml.h: kept, whichever call they
#: came from. Of calls without which a GPU cannot be asked at all, every failure is.
BROKEN = (14, 15, 16)
OPENING = ("nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex")


def runtime(library: Library, interview: Interview, from_file: CudaVersion | None) -> Runtime:
    """What a libcudart answered."""
    source = f"calls to {library.path} in a child process"
    answer = interview.answer("cudart", library.path)
    if not isinstance(answer.fact("library"), str):
        unseen = _not_loaded(answer, library.path)
        return Runtime(library, from_file, unseen, unseen, answer.trouble)
    count = next((call for call in answer.calls if call.name == "cudaGetDeviceCount"), None)
    silent = Unseen(Why.UNREADABLE, (library.path,), answer.trouble)
    asked = any(call.name == "cudaDriverGetVersion" and call.code == 0 for call in answer.calls)
    return Runtime(
        library,
        answer.version("cuda") or from_file,
        Seen(answer.version("driver"), source) if asked else silent,
        Seen(count, source) if count else silent,
        answer.trouble,
    )


def _not_loaded(answer: Answer, name: str) -> Unseen:
    error = answer.fact("dlopen-error")
    if isinstance(error, str):
        return Unseen(Why.ABSENT, (f"dlopen {name}",), error)
    return Unseen(Why.UNREADABLE, (f"dlopen {name}",), answer.trouble or "no answer")


def _telling(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    """Calls up to and with the first that failed; of those that succeeded, one of each name."""
    told: dict[str, Call] = {}
    for call in calls:
        told.setdefault(call.name, call)
        if call.code:
            told[call.name] = call
            break
    return tuple(told.values())


def _gpus(answer: Answer) -> tuple[Gpu, ...]:
    contexts = {
        value["index"]: value.get("code")
        for name, value in answer.facts
        if name == "context" and isinstance(value, dict) and isinstance(value.get("index"), int)
    }
    return tuple(
        _gpu({**value, "context": contexts.get(value.get("index"))})
        for name, value in answer.facts
        if name == "gpu" and isinstance(value, dict)
    )


def _legible(text: object) -> str:
    """What a driver gave as a text, for a line of output: characters that are none become U+FFFD, and there is an end."""
    return "".join(char if char.isprintable() else "\ufffd" for char in str(text)[:96])


def _gpu(said: dict[str, object]) -> Gpu:
    def whole(name: str) -> int | None:
        value = said.get(name)
        return value if isinstance(value, int) else None

    def truth(name: str) -> bool | None:
        value = said.get(name)
        return value if isinstance(value, bool) else None

    capability = said.get("capability")
    return Gpu(
        whole("index") or 0,
        _legible(said.get("name", "")),
        _legible(said.get("uuid", "")),
        ComputeCapability.parse(capability) if isinstance(capability, str) else None,
        whole("memory"),
        whole("brand"),
        truth("mig"),
        whole("compute_mode"),
        whole("processes"),
        whole("ecc_errors"),
        truth("remap_pending"),
        truth("remap_failed"),
        whole("context"),
        whole("instances"),
        whole("fabric"),
        whole("virtualization"),
        truth("licensed"),
        _legible(said.get("bus", "")),
        truth("mig_pending"),
        _holders(said.get("holders")),
    )


def _holders(said: object) -> tuple[tuple[int, int | None], ...]:
    """Pairs of two whole numbers; NVML leaves the second out where it may not be known (Windows, some containers)."""
    pairs = [pair for pair in said if isinstance(pair, tuple) and len(pair) == 2] if isinstance(said, list) else []
    return tuple(
        (pid, used if isinstance(used, int) and used >= 0 else None) for pid, used in pairs if isinstance(pid, int)
    )
