"""How many root causes of the corpus other diagnostic tools name: docs/peers.md.

``python -m ci.peers ENVIRONMENT --said FOLDER`` runs three tools on the machine of each fault: torch's collect_env, env-doctor and
cuda-doctor, all installed in ENVIRONMENT with a GPU build of torch. They read the machine that they run on, so each fixture is put
over it in a mount namespace (Linux, as root): its /usr, /etc, /opt and /dev over the machine's, /proc/driver and the PCI bus in
place of the machine's. libcuda and NVML are the fake driver with the fixture's script, nvidia-smi is a program that prints what
NVML says. Nothing of the machine is changed.

What a tool said is kept in the folder for a person to read; whether it names the cause is decided by the same patterns as for
gpucheck, on all lines that tell a problem.
"""

from __future__ import annotations

import argparse
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
devices = []
for index in range(count):
    try:
        devices.append(n.nvmlDeviceGetHandleByIndex(index))
    except n.NVMLError as error:
        print("Unable to determine the device handle for GPU%d: %s" % (index, error))
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
DEADLINE = 120


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


PAGE = ROOT / "docs/peers.md"

TEXT = """\
# Other tools on the same failures

Three tools were run on the machines of the [corpus](corpus.md): `python -m torch.utils.collect_env` (torch {torch}), env-doctor
{env_doctor} and cuda-doctor {cuda_doctor}. This page is generated: `python -m ci.peers ENVIRONMENT --said FOLDER` (Linux, as root).

How: they read the machine that they run on, so each fixture is put over it in a mount namespace: its /usr, /etc and /opt over the
machine's, its /proc/driver and PCI bus in place of the machine's. libcuda and NVML are the [fake driver](fake-driver.md) with the
fixture's script, nvidia-smi prints what NVML says, variables are the fixture's. What stays the machine's own: the kernel's release, its
modules and log, `/dev`, and the Python packages: torch is the one real build that is installed. {outside} failures cannot be run so,
because they lie in just that, or are an image's or a repository's; they count for nobody.

A tool names the cause when the lines that tell a problem match the same patterns that gpucheck's finding must match: the cause in so
many words, and the fix. collect_env gives no verdicts: there it is enough that the telling fact is printed. "no end" is a tool that
did not end within {deadline} s. All outputs were read by a person too, who corrected: {read}.

What speaks for gpucheck here: it was built on these failures, and its column is from the whole fixture, kernel log and device nodes
included, which the others did not see.

| failure | {names} | gpucheck |
|---|{rule}---|
{rows}| **of {count}** | {sums} | {ours} |
"""

#: Failures that are in what stays the machine's own.
OUTSIDE = ("device-node", "framework", "python-packaging", "toolkit-lib", "cuda-runtime", "container-image")


def main() -> int:
    """Run what is not yet in the folder, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", help="the folder of an environment with torch, env-doctor and cuda-doctor")
    parser.add_argument(
        "--said", required=True, type=Path, help="where what they print is kept; what is there is not run again"
    )
    parser.add_argument("--only", nargs="*", default=[], help="ids of faults; default: all")
    given = parser.parse_args()
    given.said.mkdir(parents=True, exist_ok=True)
    fixtures = [read(path) for path in sorted((FOLDER / "faults").glob("*.toml"))]
    inside = [fixture for fixture in fixtures if can_run(fixture)]
    for fixture in inside:
        if (not given.only or fixture.id in given.only) and not _said(given.said, fixture, TOOLS[-1]).exists():
            for tool, text in outputs(fixture, given.environment):
                _said(given.said, fixture, tool).write_text(text, encoding="utf-8")
            print(fixture.id, *(verdict(given.said, fixture, tool) for tool in TOOLS), flush=True)
    done = [fixture for fixture in inside if _said(given.said, fixture, TOOLS[-1]).exists()]
    PAGE.write_text(page(given, done, len(fixtures) - len(inside)), encoding="utf-8")
    return 0


def can_run(fixture: Fixture) -> bool:
    """Whether the failure lies in what a mount namespace and the fake driver can show."""
    return (
        fixture.kind == "machine"
        and bool(fixture.expect.root)
        and fixture.layer not in OUTSIDE
        and not fixture.stock.get("tegra")
    )


def _said(folder: Path, fixture: Fixture, tool: Tool) -> Path:
    return folder / f"{fixture.id}-{tool.name}.txt"


#: Where the patterns are too narrow for what a tool says in other words, or match by chance: what a person read, and why.
READ = {
    ("F020", "collect_env"): (False, "no word on the kernel module"),
    ("F026", "env-doctor"): (True, "its general advice names nouveau"),
    ("F033", "collect_env"): (True, "torch's warning says that the driver is too old"),
    ("F033", "env-doctor"): (True, "a conflict of torch's CUDA with the driver's"),
    ("F033", "cuda-doctor"): (True, "a runtime of CUDA 13 against a driver of CUDA 11"),
    ("F106", "collect_env"): (False, "no word on shared memory"),
}


def verdict(folder: Path, fixture: Fixture, tool: Tool) -> str:
    """``yes``, ``no`` or ``no end``."""
    if (fixture.id, tool.name) in READ:
        return "yes" if READ[fixture.id, tool.name][0] else "no"
    text = _said(folder, fixture, tool).read_text(encoding="utf-8")
    return "yes" if names(tool, fixture, text) else "no end" if f"no end within {DEADLINE} s" in text else "no"


def page(given: argparse.Namespace, done: list[Fixture], outside: int) -> str:
    """The table, with the versions of the tools."""
    rows, sums = "", {tool.name: 0 for tool in TOOLS}
    for fixture in done:
        verdicts = [verdict(given.said, fixture, tool) for tool in TOOLS]
        for tool, found in zip(TOOLS, verdicts):
            sums[tool.name] += found == "yes"
        rows += f"| {fixture.id} {fixture.title.replace('|', ' ')} | {' | '.join(verdicts)} | {'no' if fixture.miss else 'yes'} |\n"
    versions = [_version(given.environment, name) for name in ("torch", "env-doctor", "cuda-doctor")]
    return TEXT.format(
        torch=versions[0], env_doctor=versions[1], cuda_doctor=versions[2], outside=outside, deadline=DEADLINE,
        read="; ".join(f"{id} {tool}: {'yes' if named else 'no'}, {why}" for (id, tool), (named, why) in READ.items()),
        names=" | ".join(tool.name for tool in TOOLS), rule="---|" * len(TOOLS), rows=rows, count=len(done),
        sums=" | ".join(str(sums[tool.name]) for tool in TOOLS), ours=sum(not fixture.miss for fixture in done),
    )  # fmt: skip


def _version(environment: str, name: str) -> str:
    ran = subprocess.run(
        [f"{environment}/bin/python", "-c", f"from importlib.metadata import version; print(version({name!r}))"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ran.stdout.strip() or "not installed"


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
        for name in ("lib", "lib64", "bin", "sbin"):
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
            own = path.is_file() and not path.is_symlink()
            if own and (path.stat().st_size > 1 << 20 or "/stubs/" in str(path)):
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
