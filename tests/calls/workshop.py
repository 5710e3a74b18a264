"""Programs and driver libraries compiled on the spot, run with their calls watched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpucheck.record import dataclass
from gpucheck.trace.calls import Call, CallTrace, Process, Refusal, prepare, read
from tests.needs import missing


@dataclass(frozen=True, slots=True)
class Run:
    """How a command ended, and what was seen."""

    status: int
    stdout: str
    stderr: str
    trace: CallTrace

    @property
    def process(self) -> Process:
        """The only process that opened a library."""
        (process,) = self.trace.processes
        return process


def build(path: Path, source: str, *options: str, compiler: str = "cc") -> Path:
    """Compile C (or C++) into what the options say."""
    if shutil.which(compiler) is None:
        missing("programs whose calls are watched", "install a C compiler (apt install gcc g++ libc6-dev)")
    path.parent.mkdir(parents=True, exist_ok=True)
    language = "c++" if compiler.endswith("++") else "c"
    # What follows -x is the language of all files behind it: libraries come after -x none.
    sources = ["-x", language, "-", "-x", "none"]
    subprocess.run([compiler, "-O1", "-w", *sources, *options, "-o", str(path)], input=source, text=True, check=True)
    return path


def library(path: Path, source: str, *options: str, compiler: str = "cc") -> Path:
    """A shared library; its SONAME is its file name."""
    return build(path, source, "-shared", "-fPIC", f"-Wl,-soname,{path.name}", *options, compiler=compiler)


def environment(*folders: Path | str, **more: str) -> dict[str, str]:
    """Ours without what changes loading; ``folders`` go to LD_LIBRARY_PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LD_", "CUDA_", "NVIDIA_"))}
    return {**kept, **({"LD_LIBRARY_PATH": ":".join(map(str, folders))} if folders else {}), **more}


def plain(
    command: Sequence[str | Path], env: Mapping[str, str], timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """The command without us."""
    return subprocess.run(
        [str(word) for word in command], env=dict(env), capture_output=True, text=True, timeout=timeout, check=False
    )


def watch(command: Sequence[str | Path], env: Mapping[str, str], folder: Path, timeout: float = 120) -> Run:
    """The command with its calls watched; ``folder`` is made."""
    folder.mkdir()
    added = prepare(env, str(folder))
    assert not isinstance(added, Refusal), added.reason
    ran = plain(command, {**env, **added}, timeout)
    return Run(ran.returncode, ran.stdout, ran.stderr, read(str(folder)))


def counts(process: Process) -> Counter[str]:
    """All calls by function."""
    counted: Counter[str] = Counter()
    for function in process.functions:
        counted[function.name] += function.calls
    return +counted


def named(process: Process, name: str) -> tuple[Call, ...]:
    """The noted calls of a function."""
    return tuple(call for call in process.calls if call.function == name)


def base(name: str) -> str:
    """cuGetProcAddress("cuCtxCreate") hands out cuCtxCreate_v2 or cuCtxCreate_v2_ptsz."""
    return re.sub(r"(_v\d+)?(_ptsz|_ptds)?$", "", name)


def by_base(process: Process) -> Counter[str]:
    """All calls by function, versions of one together."""
    counted: Counter[str] = Counter()
    for name, count in counts(process).items():
        counted[base(name)] += count
    return counted


def witness(
    command: Sequence[str | Path], env: Mapping[str, str], folder: Path, timeout: float = 300
) -> tuple[str, Counter[str]]:
    """The command in gdb: its output, and what breakpoints at all functions counted."""
    if shutil.which("gdb") is None:
        missing("the calls that a second witness sees", "apt install gdb")
    hits, output, script = folder / "hits.json", folder / "output", Path(__file__).with_name("witness.py")
    files = {"HITS": str(hits), "OUTPUT": str(output)}
    ran = plain(["gdb", "-batch", "-nx", "-x", script, "--args", *command], {**env, **files}, timeout)
    assert hits.exists(), ran.stderr
    counted: Counter[str] = Counter()
    for names, count in json.loads(hits.read_text()).items():
        (name,) = {base(name) for name in names.split()}
        counted[name] += count
    return output.read_text(), counted
