"""What the driver answers: its libraries are called in child processes with a deadline, never here.

A hang, a crash or garbage in the child is evidence about the driver.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path

from gpucheck.facts import Call, Cuda, Gpu, Library, Nvml, Runtime, Seen, Unseen, Why
from gpucheck.system import Ran, Running, System
from gpucheck.versions import ComputeCapability, CudaVersion, DriverVersion

#: Seconds. A cold cuInit of eight GPUs without persistence mode takes several; NVML on a failing GPU blocks for over 45 s
#: (NVIDIA/DCGM#313), which is then said.
DEADLINE = 30.0

NOT_LIVE = Unseen(Why.NOT_APPLICABLE, (), "files answer no driver call")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child said before it ended."""

    calls: tuple[Call, ...]
    facts: tuple[tuple[str, object], ...]
    trouble: str

    def fact(self, name: str) -> object:
        """The value of a fact; None when the child did not say it."""
        return dict(self.facts).get(name)

    def version(self, name: str) -> CudaVersion | None:
        """A fact that is a version in the driver's code: 12020."""
        code = self.fact(name)
        return CudaVersion.from_code(code) if isinstance(code, int) else None


class Question:
    """A task put to a child process, which is started at once."""

    def __init__(self, system: System, ask: str, library: str, deadline: float = DEADLINE) -> None:
        script = resources.files(__package__).joinpath("child.py").read_text()
        task = {"ask": ask, "library": library, "pynvml": _pynvml() if ask == "nvml" else ""}
        self.deadline = deadline
        # -I -S: nothing of the user's Python environment may run before the driver is asked.
        self._child: Running = system.start(
            sys.executable, "-I", "-S", "-c", script, timeout=deadline, stdin=json.dumps(task)
        )

    def answer(self) -> Answer:
        """Wait for the child's end and read what it said."""
        return parse(self._child.finish(), self.deadline)


def _pynvml() -> str:
    found = util.find_spec("pynvml")
    return str(Path(found.origin).parent) if found and found.origin else ""


def parse(ran: Ran, deadline: float) -> Answer:
    """Read a child's lines. Lines that are no JSON are passed over: a driver may print what it likes."""
    calls: list[Call] = []
    facts: list[tuple[str, object]] = []
    calling = ""
    ended = False
    for line in ran.stdout.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if not isinstance(said, dict):
            continue
        if "calling" in said:
            calling = str(said["calling"])
        elif "call" in said and isinstance(said.get("code"), int):
            calls.append(Call(str(said["call"]), said["code"]))
            calling = ""
        elif "fact" in said:
            facts.append((str(said["fact"]), said.get("value")))
            calling = ""
        ended = ended or "end" in said
    return Answer(tuple(calls), tuple(facts), "" if ended and ran.status == 0 else _trouble(ran, deadline, calling))


def _trouble(ran: Ran, deadline: float, calling: str) -> str:
    where = f" in {calling}" if calling else ""
    if ran.status is None:
        return f"no answer within {deadline:g} s{where}"
    if ran.status < 0:
        try:
            return f"killed by {signal.Signals(-ran.status).name}{where}"
        except ValueError:
            return f"killed by signal {-ran.status}{where}"
    last = ran.stderr.strip().splitlines()[-1:]
    return f"ended with status {ran.status}{where}" + (f": {last[0]:.200}" if last else "")


def cuda(question: Question) -> Seen[Cuda] | Unseen:
    """Wait for what libcuda answers; ABSENT with the linker's words when it cannot be loaded."""
    answer = question.answer()
    library = answer.fact("library")
    if not isinstance(library, str):
        return _not_loaded(answer, "libcuda.so.1")
    found = Cuda(library, _telling(answer.calls), answer.version("cuda"), _gpus(answer), answer.trouble)
    return Seen(found, f"calls to {library} in a child process")


def nvml(question: Question) -> Seen[Nvml] | Unseen:
    """Wait for what NVML answers; ABSENT with the linker's words when it cannot be loaded."""
    answer = question.answer()
    library = answer.fact("library")
    if not isinstance(library, str):
        return _not_loaded(answer, "libnvidia-ml.so.1")
    driver = answer.fact("driver")
    found = Nvml(
        library,
        tuple(call for call in answer.calls if call.name == "nvmlInit_v2" or call.code == GPU_IS_LOST),
        DriverVersion.parse(driver) if isinstance(driver, str) else None,
        answer.version("cuda"),
        _gpus(answer),
        answer.trouble,
    )
    return Seen(found, f"calls to {library} in a child process")


#: NVML_ERROR_GPU_IS_LOST in nvml.h.
GPU_IS_LOST = 15


def runtime(library: Library, question: Question, from_file: CudaVersion | None) -> Runtime:
    """Wait for what a libcudart answers."""
    source = f"calls to {library.path} in a child process"
    answer = question.answer()
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
    return tuple(
        found for name, value in answer.facts if name == "gpu" and isinstance(value, dict) and (found := _gpu(value))
    )


def _gpu(said: dict[str, object]) -> Gpu | None:
    def whole(name: str) -> int | None:
        value = said.get(name)
        return value if isinstance(value, int) else None

    def truth(name: str) -> bool | None:
        value = said.get(name)
        return value if isinstance(value, bool) else None

    capability = said.get("capability")
    return Gpu(
        whole("index") or 0,
        str(said.get("name", "")),
        str(said.get("uuid", "")),
        ComputeCapability.parse(capability) if isinstance(capability, str) else None,
        whole("memory"),
        whole("brand"),
        truth("mig"),
        whole("compute_mode"),
        whole("processes"),
        whole("ecc_errors"),
        truth("remap_pending"),
        truth("remap_failed"),
    )
