"""Set-user-ID programs: ld.so(8), "Secure-execution mode". The oracle is a program that lists itself from inside."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.elf.workshop import Workshop, loaded_by, run
from tests.needs import missing

#: CAP_NET_RAW, permitted and effective: struct vfs_cap_data of linux/capability.h, revision 2, as setcap(8) writes it.
CAPABLE = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


@pytest.fixture
def public(workshop: Workshop) -> Iterator[Workshop]:
    """A workshop that other users can enter, on a file system where set-user-ID counts."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        missing("set-user-ID programs against the real ld.so", "run as root, with setpriv (util-linux)")
    here = Path(tempfile.mkdtemp(prefix="gpucheck-"))
    here.chmod(0o755)
    workshop.here = here
    if os.statvfs(here).f_flag & os.ST_NOSUID:
        missing("set-user-ID programs against the real ld.so", f"mount {here.parent} without nosuid")
    yield workshop
    shutil.rmtree(here)


def check(workshop: Workshop, program: Path, *, capable: bool = False) -> list[str | None]:
    """Make the program set-user-ID, or capable of something; run it as nobody; the files of the folder that it loads."""
    program.chmod(0o755 if capable else 0o4755)
    if capable:
        os.setxattr(program, "security.capability", CAPABLE)
    process = workshop.predict(program)
    assert process.secure
    argv = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env")
    env = [f"{name}={value}" for name, value in workshop.environment().items()]
    stdout, _ = run(*argv, *env, program, cwd=workshop.here)
    observed = [line for line in stdout.splitlines() if line and "linux-vdso" not in line and "/ld-linux" not in line]
    lost = [each for each in process.resolutions if each.path is None and each.edge == "needed"]
    assert observed == ([] if lost else loaded_by(process))
    return [workshop.relative(path) for path in observed if path.startswith(str(workshop.here))]


def test_ld_library_path_is_ignored(public: Workshop) -> None:
    public.lib("rpath/libx.so")
    public.lib("env/liby.so")
    public.env["LD_LIBRARY_PATH"] = "{here}/env"
    assert check(public, public.real_program("lister", "libx.so", rpath="{here}/rpath")) == ["rpath/libx.so"]
    assert check(public, public.real_program("lister", "liby.so", rpath="{here}/rpath")) == []


def test_a_preloaded_path_is_ignored(public: Workshop) -> None:
    public.lib("pre/libp.so").chmod(0o4755)
    public.env["LD_PRELOAD"] = "{here}/pre/libp.so"
    assert check(public, public.real_program("lister")) == []


def test_a_preloaded_name_must_be_set_user_id(public: Workshop) -> None:
    public.lib("rpath/libp.so").chmod(0o4755)
    public.lib("rpath/libq.so")
    public.env["LD_PRELOAD"] = "libp.so:libq.so"
    assert check(public, public.real_program("lister", rpath="{here}/rpath")) == ["rpath/libp.so"]


def test_origin_of_the_program_must_lead_to_a_default_directory(public: Workshop) -> None:
    public.lib("bin/libx.so")
    assert check(public, public.real_program("lister", "libx.so", rpath="$ORIGIN")) == []


def test_origin_of_a_library_counts_at_the_front(public: Workshop) -> None:
    public.lib("lib/libx.so", "liby.so", rpath="$ORIGIN/near")
    public.lib("lib/near/liby.so")
    program = public.real_program("lister", "libx.so", rpath="{here}/lib")
    assert check(public, program) == ["lib/libx.so", "lib/near/liby.so"]


def test_origin_in_the_middle_is_ignored(public: Workshop) -> None:
    public.lib("lib/libx.so", "liby.so", rpath="//$ORIGIN/near")
    public.lib("lib/near/liby.so")
    assert check(public, public.real_program("lister", "libx.so", rpath="{here}/lib")) == []


def test_a_token_in_a_needed_name_is_an_error(public: Workshop) -> None:
    public.lib("lib/libx.so", "$ORIGIN/liby.so")
    public.lib("lib/liby.so")
    assert check(public, public.real_program("lister", "libx.so", rpath="{here}/lib")) == []


def test_file_capabilities_make_it_secure(public: Workshop) -> None:
    public.lib("rpath/libx.so")
    public.lib("env/liby.so")
    public.env["LD_LIBRARY_PATH"] = "{here}/env"
    assert check(public, public.real_program("lister", "libx.so", rpath="{here}/rpath"), capable=True) == [
        "rpath/libx.so"
    ]
    assert check(public, public.real_program("lister", "liby.so"), capable=True) == []


def test_tunables_do_not_count_in_secure_mode(public: Workshop) -> None:
    for name in ("x86-64-v3", "x86-64-v2"):
        public.lib(f"rpath/glibc-hwcaps/{name}/libx.so")
    public.lib("rpath/libx.so")
    program = public.real_program("lister", "libx.so", rpath="{here}/rpath")
    (plain,) = check(public, program)
    public.env["GLIBC_TUNABLES"] = "glibc.cpu.hwcaps=-POPCNT"
    assert check(public, program) == [plain]
