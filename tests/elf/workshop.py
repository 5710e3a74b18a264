"""Small libraries and programs made on the spot, and what the real dynamic linkers say about them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from gpucheck.elf import Process, start
from gpucheck.system import Local, Rootfs
from tests.needs import missing

GLIBC = "/lib64/ld-linux-x86-64.so.2"
MUSL = "/lib/ld-musl-x86_64.so.1"
NOT_FOUND = "not found"
LDCONFIG = shutil.which("ldconfig", path="/usr/sbin:/sbin:/usr/bin") or ""

SOURCES = {
    # A library with a function of its own; every library of a scenario is this one, linked differently.
    "library.c": "int ANSWER = 42;\n",
    # A program without libc: the linker is all that matters.
    "program.c": 'void _start(void) { __asm__ volatile("mov $60, %eax; xor %edi, %edi; syscall"); }\n',
    # A library that opens what it is told, so that the caller of dlopen is the library.
    "caller.c": "#include <dlfcn.h>\nvoid *call(const char *name) { return dlopen(name, RTLD_NOW); }\n",
    # Opens its arguments one after the other; an argument @LIBRARY makes that library the caller of the next ones.
    "opener.c": """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <link.h>
        #include <stdio.h>
        int main(int argc, char **argv) {
            void *(*call)(const char *) = 0;
            for (int i = 1; i < argc; i++) {
                struct link_map *map = 0;
                void *it;
                if (argv[i][0] == '@') {
                    it = dlopen(argv[i] + 1, RTLD_NOW);
                    call = (void *(*)(const char *)) dlsym(it, "call");
                } else
                    it = call ? call(argv[i]) : dlopen(argv[i], RTLD_NOW);
                if (it) dlinfo(it, RTLD_DI_LINKMAP, &map);
                printf("%s\\t%s\\n", argv[i], map ? map->l_name : "not found");
            }
            return 0;
        }
    """,
    # Says what is loaded, from inside: for programs that the linker does not trace.
    "lister.c": """
        #define _GNU_SOURCE
        #include <link.h>
        #include <stdio.h>
        static int show(struct dl_phdr_info *info, size_t size, void *data) { puts(info->dlpi_name); return 0; }
        int main(void) { return dl_iterate_phdr(show, 0); }
    """,
}


def run(
    *argv: str | os.PathLike[str],
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    root: Path | None = None,
) -> tuple[str, str]:
    """(stdout, stderr) of a program, whatever its exit status. ``root``: change the root directory for it."""
    done = subprocess.run(
        [os.fspath(arg) for arg in argv],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", **(env or {})},
        cwd=cwd,
        preexec_fn=(lambda: os.chroot(root)) if root else None,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=60,
        check=False,
    )
    return done.stdout, done.stderr


def need(*tools: str) -> None:
    """Skip, or fail where everything must run, when a tool is not there."""
    for tool in tools:
        if shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
            missing(f"the search order against the real ld.so ({tool} is not there)", "apt-get install gcc binutils")
    if not Path(GLIBC).exists():
        missing("the search order against the real ld.so", "run on x86-64 with glibc")


@cache
def objects(shared: str) -> Path:
    """A folder with the compiled sources; made once in each test process."""
    folder = Path(shared)
    for name, text in SOURCES.items():
        (folder / name).write_text(text)
    for name in ("library", "program", "caller"):
        subprocess.run(["gcc", "-c", "-fPIC", "-o", folder / f"{name}.o", folder / f"{name}.c"], check=True)
    return folder


@dataclass
class Workshop:
    """A folder in which a scenario is built. Paths are relative to it; ``{here}`` in a path list stands for it."""

    here: Path
    shared: Path
    interpreter: str = GLIBC
    emulation: str = "elf_x86_64"
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None

    def lib(
        self,
        path: str,
        *needs: str,
        soname: str | None = None,
        rpath: str | None = None,
        runpath: str | None = None,
        flags: Sequence[str] = (),
        code: str = "library",
    ) -> Path:
        """Link a library. ``needs``: DT_NEEDED. Its SONAME is the file's name; an empty one leaves it out."""
        target = self.here / path
        soname = target.name if soname is None else soname
        options = ["-shared", *(["-soname", soname] if soname else [])]
        return self._link(target, needs, [*options, *flags], code, rpath, runpath)

    def program(
        self,
        *needs: str,
        path: str = "bin/program",
        rpath: str | None = None,
        runpath: str | None = None,
        flags: Sequence[str] = (),
    ) -> Path:
        """Link a position-independent program without libc."""
        options = ["-pie", "--dynamic-linker", self.interpreter, *flags]
        return self._link(self.here / path, needs, options, "program", rpath, runpath)

    def real_program(self, code: str, *needs: str, path: str = "bin/program", rpath: str | None = None) -> Path:
        """Compile a program that runs: ``opener`` or ``lister``."""
        target = self.here / path
        target.parent.mkdir(parents=True, exist_ok=True)
        stubs = [os.fspath(self._stub(name)) for name in needs]
        paths = ["-Wl,--disable-new-dtags", f"-Wl,-rpath,{self.text(rpath)}"] if rpath else []
        source = objects(str(self.shared)) / f"{code}.c"
        subprocess.run(
            ["gcc", "-o", target, source, "-Wl,--no-as-needed", *stubs, *paths, "-ldl"], check=True, cwd=self.here
        )
        return target

    def text(self, text: str) -> str:
        """Put the folder's name into a path list."""
        return text.replace("{here}", os.fspath(self.here))

    def _link(
        self,
        target: Path,
        needs: tuple[str, ...],
        options: list[str],
        code: str,
        rpath: str | None,
        runpath: str | None,
    ) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        for tag, value in (("--disable-new-dtags", rpath), ("--enable-new-dtags", runpath)):
            if value is not None:
                options = [*options, tag, "-rpath", self.text(value)]
        stubs = [os.fspath(self._stub(name)) for name in needs]
        subprocess.run(
            [
                "ld",
                "-m",
                self.emulation,
                "--hash-style=gnu",
                "-z",
                "noseparate-code",
                *options,
                "-o",
                target,
                objects(str(self.shared)) / f"{code}.o",
                "--no-as-needed",
                "--allow-shlib-undefined",
                *stubs,
            ],
            check=True,
        )
        return target

    def _stub(self, soname: str) -> Path:
        """A library to link against, so that DT_NEEDED is this name; the real one need not exist."""
        soname = self.text(soname)
        stub = self.shared / f"stub-{hashlib.sha1(soname.encode()).hexdigest()}.so"
        if not stub.exists():
            made = stub.with_suffix(f".{os.getpid()}")
            subprocess.run(
                ["ld", "-shared", "-soname", soname, "-o", made, objects(str(self.shared)) / "library.o"], check=True
            )
            made.rename(stub)
        return stub

    # -- the two witnesses -----------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        return {name: self.text(value) for name, value in self.env.items()}

    def predict(self, target: Path, **options: object) -> Process:
        """What gpucheck expects of starting ``target``."""
        options = {"env": self.environment(), "cwd": os.fspath(self.cwd or self.here), **options}
        return start(Local(), os.fspath(target), **options)  # type: ignore[arg-type]

    def observe(self, *target: str | Path) -> Observed:
        """What the real ld.so does with it: it lists what it would load, and logs every file that it tries."""
        env = {**self.environment(), "LD_TRACE_LOADED_OBJECTS": "1", "LD_DEBUG": "libs"}
        stdout, stderr = run(*target, env=env, cwd=self.cwd or self.here)
        return parse_trace(stdout, stderr)

    def check(self, target: Path, *expected: tuple[str, str | None, str]) -> Process:
        """Prediction and observation agree, and both are what the test says: (name, file in the folder, how)."""
        process = self.predict(target)
        observed = self.observe(target)
        assert loaded_by(process) == [self.absolute(path) for _, path in observed.loaded], observed
        fatal = next((each.fatal for each in process.resolutions if each.fatal and each.edge == "needed"), None)
        if fatal:
            assert observed.error is not None, f"expected {fatal}"
        else:
            assert observed.error is None, observed.error
            assert lost_by(process) == observed.lost
            existing = [
                # It tries once what does not exist, and some subdirectories twice.
                (
                    name,
                    [path for path in dict.fromkeys(map(self.absolute, tries)) if os.path.isdir(os.path.dirname(path))],
                )
                for name, tries in observed.tries
            ]
            assert tried_by(process) == existing
        for name, path, how in expected:
            found = next(each for each in process.resolutions if each.soname == self.text(name))
            assert (self.relative(found.path), found.how) == (path, how), found
        return process

    def absolute(self, path: str) -> str:
        """ld.so prints relative paths as they are."""
        return path if path.startswith("/") else f"{self.cwd or self.here}/{path}"

    def relative(self, path: str | None) -> str | None:
        """A path inside the folder in short form."""
        return None if path is None else os.path.relpath(path, self.here) if path.startswith(str(self.here)) else path


@dataclass
class Observed:
    """What ld.so said."""

    loaded: list[tuple[str, str]]
    """(name, path) in link-map order without the program, the vdso and ld.so itself."""
    lost: list[str]
    """Names that were not found, in order."""
    tries: list[tuple[str, list[str]]]
    """For each search, the name and the files tried."""
    error: str | None


def parse_trace(stdout: str, stderr: str) -> Observed:
    """The output of LD_TRACE_LOADED_OBJECTS=1 LD_DEBUG=libs."""
    loaded, lost = [], []
    for line in stdout.splitlines():
        if found := re.fullmatch(r"\t(.*) => (.*?)(?: \(0x[0-9a-f]+\))?", line):
            if found[2] == NOT_FOUND:
                lost.append(found[1])
            else:
                loaded.append((found[1], found[2]))
        elif (found := re.fullmatch(r"\t(.*) \(0x[0-9a-f]+\)", line)) and not re.search(
            "ld-linux|linux-vdso", found[1]
        ):
            # The name is the path.
            loaded.append((found[1], found[1]))
    tries: list[tuple[str, list[str]]] = []
    error = None
    for line in stderr.splitlines():
        if found := re.search(r"find library=(.*) \[0\]; searching", line):
            tries.append((found[1], []))
        elif found := re.search(r"  trying file=(.*)", line):
            tries[-1][1].append(found[1])
        elif found := re.search(r"error while loading shared libraries: (.*)", line):
            error = found[1]
    return Observed(loaded, lost, tries, error)


class Root(Workshop):
    """A folder that becomes a root directory; ``{here}`` is its top as seen inside."""

    emulator: str | None = None
    """A program in the root that runs those of another machine."""
    machine: int | None = None
    """What ``e_machine`` becomes in all that is linked; no code of it runs, so that the linker cannot tell."""

    def text(self, text: str) -> str:
        return text.replace("{here}", "")

    def configure(self, text: str, *, form: str = "new") -> None:
        """Write /etc/ld.so.conf and let ldconfig make the cache."""
        (self.here / "etc").mkdir(exist_ok=True)
        (self.here / "etc/ld.so.conf").write_text(text)
        self.ldconfig(form=form)

    def ldconfig(self, *, form: str = "new") -> None:
        if not LDCONFIG:
            missing("ld.so.cache against the real ldconfig", "apt-get install libc-bin")
        # -X: make no links.
        _, stderr = run(LDCONFIG, "-X", "-r", self.here, "-c", form)
        assert "No such file" not in stderr or "ld.so.conf" in stderr, stderr

    def inside(self, program: Path, *, configuration: bool = False) -> Process:
        """Predict, with the folder as root."""
        system = Rootfs(str(self.here), self.environment())
        cwd = "/" + os.path.relpath(self.cwd or self.here, self.here)
        name = "/" + str(program.relative_to(self.here))
        return start(system, name, configuration=configuration, cwd=os.path.normpath(cwd))

    def check_inside(self, program: Path, *expected: tuple[str, str | None, str]) -> Process:
        """As ``check``, in a chroot."""
        process = self.inside(program)
        if os.geteuid() != 0:
            missing("other roots against the real ld.so", "run as root (chroot)")
        name = "/" + str(program.relative_to(self.here))
        # Without /proc in the root, ld.so takes the program's $ORIGIN from a variable (elf/dl-origin.c).
        origin = os.path.dirname(name)
        env = {**self.environment(), "LD_TRACE_LOADED_OBJECTS": "1", "LD_DEBUG": "libs", "LD_ORIGIN_PATH": origin}
        argv = [self.emulator, name] if self.emulator else [name]
        stdout, stderr = run(*argv, env=env, cwd=self.cwd or self.here, root=self.here)
        observed = parse_trace(stdout, stderr)
        assert observed.error is None, stderr
        loaded = [path if path.startswith("/") else os.path.join(process.cwd, path) for _, path in observed.loaded]
        assert loaded_by(process) == loaded, stderr
        assert lost_by(process) == observed.lost
        for soname, path, how in expected:
            found = next(each for each in process.resolutions if each.soname == soname)
            assert (found.path, found.how) == (path, how), found
        return process

    def _link(
        self,
        target: Path,
        needs: tuple[str, ...],
        options: list[str],
        code: str,
        rpath: str | None,
        runpath: str | None,
    ) -> Path:
        super()._link(target, needs, options, code, rpath, runpath)
        if self.machine is not None:
            with open(target, "r+b") as file:
                file.seek(18)
                file.write(self.machine.to_bytes(2, "little"))
        return target


def loaded_by(process: Process) -> list[str]:
    """The paths of a predicted link map in order, without the program and ld.so."""
    return [item.path for item in process.objects if not item.main and item is not process.linker_object]


def lost_by(process: Process) -> list[str]:
    """The names that are predicted to be missing."""
    return [
        each.soname.replace("$ORIGIN", os.path.dirname(each.requester or ""))
        for each in process.resolutions
        if each.path is None and each.edge == "needed"
    ]


def tried_by(process: Process) -> list[tuple[str, list[str]]]:
    """For each search the files that are expected to be tried, those in directories that exist."""
    tries = []
    for each in process.resolutions:
        paths = [one.path for one in each.candidates if one.skipped != "no such directory"]
        if each.how == "path" or "/" in each.soname or (each.how == "resident" and not paths):
            continue
        if each.how not in ("resident", "not found"):
            assert each.path is not None
            paths.append(each.path)
        if each.fatal and "/" in each.fatal:
            paths.append(each.fatal.partition(":")[0])
        tries.append((each.soname, list(dict.fromkeys(paths))))
    return tries


__all__ = ["GLIBC", "MUSL", "Observed", "Workshop", "loaded_by", "lost_by", "need", "run", "tried_by"]
