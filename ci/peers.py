"""How many root causes of the corpus other diagnostic tools name: docs/peers.md.

``python -m ci.peers ENVIRONMENT [FAULT...]`` runs three tools on the machine of each fault: torch's collect_env, env-doctor and
cuda-doctor, all installed in ENVIRONMENT with a GPU build of torch. They read the machine that they run on, so each fixture is put
over it in a mount namespace (Linux, as root): its /usr, /etc, /opt and /dev over the machine's, /proc/driver and the PCI bus in
place of the machine's. libcuda and NVML are the fake driver with the fixture's script, nvidia-smi is a program that prints what
NVML says. Nothing of the machine is changed.

What a tool said is kept in a folder for a person to read; whether it names the cause is decided by the same patterns as for
gpucheck, on all lines that tell a problem.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gpucheck.fakedriver import library  # noqa: E402
from tests.corpus.build import build  # noqa: E402
from tests.corpus.fixture import FOLDER, Fixture, read  # noqa: E402

#: What of a fixture's files the tools' own Python needs from the machine.
KEPT = re.compile(
    r"/(usr/)?(s?bin/(sh|ldconfig|python.*)|lib(64)?/(.*/)?(ld-linux.*|lib(c|m|dl|pthread|rt|util|gcc_s|stdc\+\+|z|gomp)\.so.*))$"
)

#: Prints what nvidia-smi prints, from NVML; the messages are nvidia-smi's own.
SMI = """#!{python}
import sys
sys.path.insert(0, {packages!r})
import pynvml as n
ERRORS = {{18: "Failed to initialize NVML: Driver/library version mismatch", 4: "Failed to initialize NVML: Insufficient Permissions",
    9: "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running.",
    12: "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.", 999: "Failed to initialize NVML: Unknown Error"}}
try:
    n.nvmlInit()
    count = n.nvmlDeviceGetCount()
except n.NVMLError as error:
    print(ERRORS.get(error.value, "Failed to initialize NVML: " + str(error)))
    sys.exit(error.value % 256)
if not count:
    print("No devices were found")
    sys.exit(6)
driver, cuda = n.nvmlSystemGetDriverVersion(), n.nvmlSystemGetCudaDriverVersion()
devices = [n.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
ask = next((word.split("=", 1)[1].split(",") for word in sys.argv if word.startswith("--query-gpu=")), None)
for index, device in enumerate(devices):
    known = {{"name": n.nvmlDeviceGetName(device), "gpu_name": n.nvmlDeviceGetName(device), "driver_version": driver, "index": str(index),
             "memory.total": str(n.nvmlDeviceGetMemoryInfo(device).total >> 20), "compute_cap": "%d.%d" % n.nvmlDeviceGetCudaComputeCapability(device),
             "uuid": n.nvmlDeviceGetUUID(device), "count": str(count)}}
    if ask:
        print(", ".join(known.get(word.strip(), "[N/A]") for word in ask))
    elif "-L" in sys.argv:
        print("GPU %d: %s (UUID: %s)" % (index, known["name"], known["uuid"]))
    elif index == 0:
        print("| NVIDIA-SMI %s    Driver Version: %s    CUDA Version: %d.%d |" % (driver, driver, cuda // 1000, cuda % 1000 // 10))
    if not ask and "-L" not in sys.argv:
        print("|   %d  %s |" % (index, known["name"]))
"""

#: Seconds for one tool; a driver that hangs keeps it from ending.
DEADLINE = 240


@dataclass(frozen=True)
class Tool:
    """A peer."""

    name: str
    argv: tuple[str, ...]
    verdicts: bool
    """It says what is wrong; the others print facts."""


TOOLS = (
    Tool("collect_env", ("-m", "torch.utils.collect_env"), False),
    Tool("env-doctor", ("-m", "env_doctor.cli", "check"), True),
    Tool("cuda-doctor", ("-m", "cuda_doctor", "diagnose"), True),
)

#: Run inside the namespace: mounts, then one tool.
INSIDE = """
import json, os, subprocess, sys
task = json.loads(sys.argv[1])
for folder in ("usr", "etc", "opt"):
    over = task["root"] + "/" + folder
    if os.path.isdir(over):
        os.makedirs("/" + folder, exist_ok=True)
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", "lowerdir=" + over + ":/" + folder, "/" + folder], check=True)
for real, fake in task["binds"]:
    subprocess.run(["mount", "--bind", fake, real], check=True)
try:
    ran = subprocess.run(task["argv"], env=task["env"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         errors="replace", timeout=task["deadline"], cwd="/")
    print(ran.stdout, end="")
    print("exit status", ran.returncode)
except subprocess.TimeoutExpired as late:
    print((late.stdout or b"").decode(errors="replace"), end="")
    print("no end within", task["deadline"], "s")
"""


def main() -> int:
    """Run all; print one line a fault."""
    environment, *only = sys.argv[1:]
    said = Path(tempfile.mkdtemp(prefix="peers-"))
    hits = {tool.name: 0 for tool in TOOLS}
    count = 0
    for path in sorted((FOLDER / "faults").glob("*.toml")):
        fixture = read(path)
        if (only and fixture.id not in only) or fixture.kind != "machine" or not fixture.expect.root:
            continue
        count += 1
        line = [fixture.id]
        for tool, text in outputs(fixture, environment):
            (said / f"{fixture.id}-{tool.name}.txt").write_text(text, encoding="utf-8")
            named = names(tool, fixture, text)
            hits[tool.name] += named
            line.append(f"{tool.name} {'yes' if named else 'no'}")
        print("  ".join(line), flush=True)
    print(f"{count} faults; {hits}; what they said: {said}")
    return 0


def outputs(fixture: Fixture, environment: str) -> Iterator[tuple[Tool, str]]:
    """What each tool prints on the fixture's machine."""
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        root = Path(folder, "root")
        root.mkdir()
        world = build(fixture, root)
        python = str(Path(environment, "bin/python"))
        for path in [path for path in root.rglob("*") if KEPT.search("/" + str(path.relative_to(root)))]:
            if not path.is_dir() or path.is_symlink():
                path.unlink()
        for name, _content in (("lib", None), ("lib64", None), ("bin", None), ("sbin", None)):
            link = root / name
            if link.is_symlink():
                link.unlink()
        shutil.rmtree(root / fixture.prefix.lstrip("/"), ignore_errors=True)
        _real_driver(root)
        (root / "usr/bin").mkdir(parents=True, exist_ok=True)
        smi = root / "usr/bin/nvidia-smi"
        if smi.exists() or any(root.rglob("libnvidia-ml.so.1")):
            smi.unlink(missing_ok=True)
            smi.write_text(SMI.format(python=sys.executable, packages=_folder_of("pynvml")))
            smi.chmod(0o755)
        script = Path(folder, library.FILE)
        # The wheel of torch that is here asks for CUDA 13: the version of CUDA is the fixture's only where that is the fault.
        cuda = (
            ""
            if re.search(r"^cuda\s*=", fixture.script, re.MULTILINE) or "driver-too-old" in fixture.expect.root
            else "cuda = 13.2\n"
        )
        script.write_text(fixture.script + cuda)
        binds = [
            [real, str(root / real.lstrip("/"))]
            for real in ("/proc/driver", "/sys/bus/pci/devices")
            if Path(real).is_dir()
        ]
        for _, fake in binds:
            Path(fake).mkdir(parents=True, exist_ok=True)
        env = {name: value for name, value in world.env.items() if name not in ("PATH", "VIRTUAL_ENV", "CONDA_PREFIX")}
        env |= {
            "PATH": f"{environment}/bin:/usr/local/cuda/bin:/usr/bin:/bin",
            "HOME": folder,
            library.SCRIPT: str(script),
            "COLUMNS": "200",
        }
        for tool in TOOLS:
            task = {"root": str(root), "binds": binds, "argv": [python, *tool.argv], "env": env, "deadline": DEADLINE}
            ran = subprocess.run(
                ["unshare", "--mount", sys.executable, "-c", INSIDE, json.dumps(task)],
                capture_output=True, text=True, errors="replace", check=False,
            )  # fmt: skip
            yield tool, ran.stdout + ran.stderr


def _real_driver(root: Path) -> None:
    """The fixture's driver libraries, which are hollow, become the fake driver's."""
    built = library.build()
    for name in library.LIBRARIES:
        for path in root.rglob(f"{name}*"):
            if (path.is_file() and not path.is_symlink() and path.stat().st_size > 1 << 20) or (
                path.is_file() and not path.is_symlink() and "/stubs/" in str(path)
            ):
                shutil.copy2(built / name, path)


def _folder_of(module: str) -> str:
    from importlib.util import find_spec

    found = find_spec(module)
    return os.path.dirname(found.origin) if found and found.origin else ""


#: A line that tells a problem: the marks and words that the two tools use.
PROBLEM = re.compile(
    r"❌|⚠|✗|✘|✖|error|warning|fail|missing|not found|mismatch|incompat|too old|unsupported|recommend|fix|issue|critical|→",
    re.IGNORECASE,
)


def names(tool: Tool, fixture: Fixture, text: str) -> bool:
    """The cause's patterns and the fix's, all in the lines that tell a problem; of a tool without verdicts, the cause's anywhere."""
    if tool.verdicts:
        text = "\n".join(line for line in text.splitlines() if PROBLEM.search(line))
        return all(re.search(pattern, text) for pattern in (*fixture.expect.says, *fixture.expect.fix))
    return bool(fixture.expect.says) and all(re.search(pattern, text) for pattern in fixture.expect.says)


if __name__ == "__main__":
    sys.exit(main())
