"""A fixture's world: the files, the kernel, the devices and the driver of a machine or an image, as a System.

The files are really there, below a folder: a :class:`Rootfs`. What a kernel would add (who looks, opening a node, its log) comes
from the fixture; what the driver answers comes from the fake driver (docs/fake-driver.md), asked by gpucheck's own child. The
driver's libraries load when gpucheck.elf finds them: it is compared with the real ld.so in tests/elf.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from gpucheck.elf import ElfError, find
from gpucheck.fakedriver import library
from gpucheck.system import Identity, NotLive, Ran, Rootfs, Running, Status
from gpucheck.versions import CudaVersion
from tests.corpus.fixture import Fixture, NodeState
from tests.fakedriver.drivers import built

LIBRARIES = {"cuda": "libcuda.so.1", "nvml": "libnvidia-ml.so.1"}

#: A driver that has not answered after so many seconds never will, in these fixtures.
DEADLINE = 2.0


class World(Rootfs):
    """A live machine, where nothing runs but the child that asks the driver."""

    def __init__(self, root: str, fixture: Fixture, env: Mapping[str, str]) -> None:
        super().__init__(root, env)
        self.fixture = fixture
        self.live = fixture.kind == "machine"
        if self.live:
            self.identity = Identity(
                fixture.machine, fixture.glibc, fixture.uid, tuple(fixture.groups or [fixture.uid])
            )

    def status(self, path: str, *, follow: bool = True) -> Status:
        self._enter(path)
        found = super().status(path, follow=follow)
        node = self._node(path)
        if node is None or found.kind != "file":
            return found
        return Status("char", node.mode, node.uid, node.gid, 0, found.identity, tuple(node.number))  # type: ignore[arg-type]

    def read(self, path: str, limit: int = 1 << 20, offset: int = 0) -> bytes:
        self._enter(path)
        if path in self.fixture.unreadable:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return super().read(path, limit, offset)

    def resolve(self, path: str) -> str | None:
        try:
            self._enter(path)
        except PermissionError:
            return None
        return super().resolve(path)

    def names(self, directory: str) -> tuple[str, ...]:
        self._enter(f"{directory}/")
        return super().names(directory)

    def _enter(self, path: str) -> None:
        if any(path.startswith(f"{folder}/") for folder in self.fixture.closed):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    def open_error(self, path: str) -> str:
        """As the fixture says, else by mode, owner and groups."""
        if not self.live:
            return "?"
        node = self._node(path)
        if node is None:
            return "ENOENT"
        if node.open is not None:
            return node.open
        mine = {self.fixture.uid, *self.fixture.groups}
        shift = 6 if node.uid == self.fixture.uid else 3 if node.gid in mine else 0
        return "" if self.fixture.uid == 0 or node.mode >> shift & 6 == 6 else "EACCES"

    def kernel_log(self) -> str:
        if not self.live:
            raise NotLive("an image has no kernel")
        if self.fixture.dmesg is None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), "/dev/kmsg")
        # A newline within a message is escaped: msg_print_ext_body in the kernel's kernel/printk/printk.c.
        lines = (line.replace("\n", "\\x0a") for line in self.fixture.dmesg)
        return "".join(f"4,{at},{at}000,-;{line}\n" for at, line in enumerate(lines))

    def start(self, *argv: str, timeout: float) -> Running:
        """Only gpucheck's own child, whatever the interpreter is."""
        if not self.live or argv[0] != sys.executable:
            raise NotLive(f"{argv[0]} was not run: this is a fixture")
        return Interviewed(self, argv, timeout)

    def _node(self, path: str) -> NodeState | None:
        return self.fixture.nodes.get(path)


class Interviewed:
    """The child that asks the driver: questions whose library is there go to a real one with the fake driver."""

    def __init__(self, world: World, argv: Sequence[str], timeout: float) -> None:
        self._world, self._argv, self._timeout = world, tuple(argv), timeout
        self._questions: list[list[str]] = []

    def send(self, text: str) -> None:
        self._questions += [line.split("\t") for line in text.splitlines()]

    def finish(self) -> Ran:
        world = self._world
        said: list[dict[str, object]] = []
        real: list[str] = []
        places: dict[str, str] = {}
        for id, ask, name, folder in self._questions:
            if ask == "cudart":
                continue
            where = world.fixture.answers.get(ask) or _find(world, name)
            if where.startswith("/"):
                places[ask] = world.resolve(where) or where
                real.append("\t".join((id, ask, name, folder)))
            else:
                said += [{"id": id, "fact": "dlopen-error", "value": where}, {"id": id, "status": 0}]
        stdout, status = "", 0
        if real:
            kept = tuple(sorted((name, value) for name, value in world.env.items() if name.startswith("CUDA_")))
            stdout, code = _asked(self._argv, world.fixture.script, kept, tuple(real), min(self._timeout, DEADLINE))
            status = code if code is not None else -1
            for ask, place in places.items():
                stdout = stdout.replace(
                    f"{{driver}}/{LIBRARIES[ask].removesuffix('.1')}.{world.fixture.driver_named}", place
                )
        said += [
            line
            for question in self._questions
            if question[1] == "cudart"
            for line in _runtime(world, question, stdout)
        ]
        return Ran(None if status == -1 else status, stdout + "".join(f"{line!r}\n" for line in said), "")


def _find(world: World, name: str) -> str:
    """The path of a library, or the dynamic linker's words when there is none."""
    try:
        path = find(world, name).path
    except (ElfError, OSError):
        path = None
    return path or f"{name}: cannot open shared object file: No such file or directory"


@cache
def _asked(
    argv: tuple[str, ...], script: str, env: tuple[tuple[str, str], ...], questions: tuple[str, ...], timeout: float
) -> tuple[str, int | None]:
    """What the child says on a fake driver with this script, with ``{driver}`` for the driver's folder."""
    with TemporaryDirectory() as folder:
        added = library.lay_out(Path(folder), script, built())
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], **dict(env), **added},
            text=True,
            start_new_session=True,
        )
        text = "".join(f"{question}\n" for question in questions)
        try:
            stdout, _ = process.communicate(text, timeout=timeout)
            return stdout.replace(folder, "{driver}"), process.returncode
        except subprocess.TimeoutExpired as late:
            os.killpg(process.pid, 9)
            stdout, _ = process.communicate()
            before = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
            return (stdout or before).replace(folder, "{driver}"), None


def _runtime(world: World, question: Sequence[str], said: str) -> list[dict[str, object]]:
    """What a libcudart answers, given what libcuda does.

    Measured with libcudart 11.7 to 13.5 on drivers 450 to 555 (tests/real) and on the fake driver (tests/fakedriver): 35 with
    driver version 0 where no libcuda loads, 35 where the driver's CUDA major is older, else cuInit's code.
    """
    id, _, path, _ = question
    version = CudaVersion.parse(
        world.fixture.runtimes.get(path) or world.fixture.runtimes.get(world.resolve(path) or "", "")
    )
    lines: list[dict[str, object]] = [{"fact": "library", "value": path}]
    own = version.major * 1000 + version.minor * 10 if version else None
    calls = [entry for line in said.splitlines() if (entry := _literal(line)).get("id") == "cuda libcuda.so.1"]
    driver = next((entry["value"] for entry in calls if entry.get("fact") == "cuda"), None)
    init = next((entry["code"] for entry in calls if entry.get("call") == "cuInit"), None)
    count = sum(entry.get("fact") == "gpu" for entry in calls)
    if not isinstance(driver, int) or init is None:
        driver, code = 0, 35
    elif version and driver // 1000 < version.major:
        code = 35
    else:
        code = init if isinstance(init, int) and init else 0 if count else 100
    lines += [
        {"call": "cudaRuntimeGetVersion", "code": 0},
        {"fact": "cuda", "value": own},
        {"call": "cudaDriverGetVersion", "code": 0},
        {"fact": "driver", "value": driver},
        {"call": "cudaGetDeviceCount", "code": code},
        {"status": 0},
    ]
    return [{"id": id, **line} for line in lines]


def _literal(line: str) -> dict[str, object]:
    import ast

    try:
        entry = ast.literal_eval(line)
    except (ValueError, SyntaxError):
        return {}
    return entry if isinstance(entry, dict) else {}
