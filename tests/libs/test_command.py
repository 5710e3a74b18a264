"""``gpucheck libs`` as a user types it: text, JSON, exit codes, and one line for bad input."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from tests.elf.workshop import MUSL, Root, Workshop
from tests.libs.places import SITE, distribution, python
from tests.needs import missing

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/libs.json").read_text())
TAG = "cpython-312-x86_64-linux-gnu.so"


def libs(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LD_", "CUDA_", "NVIDIA_", "NO_COLOR", "VIRTUAL_ENV", "CONDA"))
    }
    return subprocess.run(
        [sys.executable, "-m", "gpucheck", "libs", *map(str, arguments)],
        env={**clean, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def document(*arguments: str | Path) -> dict[str, object]:
    done = libs(*arguments, "--format", "json")
    assert done.stderr == ""
    found = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def image(root: Root) -> Root:
    """A root with a little torch, and a toolkit whose cuBLAS comes first."""
    python(root)
    distribution(root, "torch", "2.9.1", (f"torch/_C.{TAG}", f"torch/_plain.{TAG}", f"torch/_other.{TAG}"))
    root.lib(f"{SITE}/torch/lib/libtorch_global_deps.so", "libcudart.so.12", rpath="$ORIGIN")
    root.lib(f"{SITE}/torch/lib/libcudart.so.12")
    root.lib(f"{SITE}/torch/_C.{TAG}", "libcublas.so.12", "libgone.so.1", runpath="$ORIGIN/lib")
    root.lib(f"{SITE}/torch/_plain.{TAG}")
    root.lib(f"{SITE}/torch/_other.{TAG}")
    root.lib(f"{SITE}/torch/lib/libcublas.so.12")
    root.lib("opt/cuda/libcublas.so.12")
    return root


IMAGE_ENV = ("--env", "PATH=/venv/bin:/usr/bin", "--env", "LD_LIBRARY_PATH=/opt/cuda")


def test_a_distribution_in_an_image(image: Root) -> None:
    done = libs("torch", "--root", image.here, *IMAGE_ENV)
    assert (done.returncode, done.stderr) == (1, "")
    assert (
        done.stdout
        == f"""\
torch 2.9.1, imported by /venv/bin/python3.12
… is /venv/lib/python3.12/site-packages
└── libpython3.12.so.1.0 => /usr/lib/libpython3.12.so.1.0 [default directory]
    ├── _ctypes.{TAG} (dlopen) => /usr/lib/python3.12/lib-dynload/_ctypes.{TAG} [by its path]
    │   ├── libffi.so.8 => /usr/lib/libffi.so.8 [default directory]
    │   └── libtorch_global_deps.so (dlopen: import) => …/torch/lib/libtorch_global_deps.so [by its path]
    │       └── libcudart.so.12 => …/torch/lib/libcudart.so.12 [RPATH of libtorch_global_deps.so]
    │           └── libcuda.so.1 (dlopen: first use): not found
    ├── _C.{TAG} (dlopen: import torch._C) => …/torch/_C.{TAG} [by its path]: cannot be loaded without libgone.so.1
    │   ├── libcublas.so.12 => /opt/cuda/libcublas.so.12 [LD_LIBRARY_PATH]
    │   └── libgone.so.1: not found
    └── 2 extension modules that load nothing else

libgone.so.1 is not there; needed by …/torch/_C.{TAG}. Looked at, in this order:
  1. LD_LIBRARY_PATH: /opt/cuda/libgone.so.1: not there
  2. RUNPATH: …/torch/lib/libgone.so.1: not there
  3. ld.so.cache: /etc/ld.so.cache is not there (ldconfig makes it)
  4. default: /lib/x86_64-linux-gnu/libgone.so.1: no such directory
  5. default: /usr/lib/x86_64-linux-gnu/libgone.so.1: no such directory
  6. default: /lib/libgone.so.1: no such directory
  7. default: /usr/lib/libgone.so.1: not there
libcuda.so.1 is not there, it comes with the host's driver; opened by …/torch/lib/libcudart.so.12

libcublas.so.12: /opt/cuda/libcublas.so.12 hides …/torch/lib/libcublas.so.12 (RUNPATH)
"""
    )


def test_the_same_as_json(image: Root) -> None:
    found = document("torch", "--root", image.here, *IMAGE_ENV)
    assert found["target"] == {
        "kind": "distribution",
        "name": "torch 2.9.1",
        "path": f"/{SITE}",
        "interpreter": "/venv/bin/python3.12",
    }
    assert found["missing"] == ["libgone.so.1", "libcuda.so.1"]
    assert found["shadowed"] == [
        {
            "soname": "libcublas.so.12",
            "path": f"/{SITE}/torch/lib/libcublas.so.12",
            "how": "RUNPATH",
            "by": "/opt/cuda/libcublas.so.12",
        }
    ]
    resolutions = found["resolutions"]
    assert isinstance(resolutions, list)
    (cuda,) = (each for each in resolutions if each["soname"] == "libcuda.so.1")
    assert (cuda["edge"], cuda["when"], cuda["required"], cuda["path"]) == ("dlopen", "first use", True, None)
    assert cuda["source"].startswith("https://pypi.org/project/nvidia-cuda-runtime/")


def test_all_shows_what_loads_nothing_else(image: Root) -> None:
    text = libs("torch", "--root", image.here, *IMAGE_ENV, "--all").stdout
    assert f"_plain.{TAG} (dlopen: import torch._plain) => …/torch/_plain.{TAG} [by its path]" in text
    assert "libcuda.so.1 is not there; opened by" in text


def test_the_drivers_absence_is_no_fault_of_an_image(image: Root) -> None:
    image.lib(f"{SITE}/torch/_C.{TAG}", "libcublas.so.12", "libcuda.so.1")
    done = libs("torch", "--root", image.here, *IMAGE_ENV)
    assert done.returncode == 0, done.stdout
    assert "libcuda.so.1 is not there, it comes with the host's driver" in done.stdout


def test_the_environment_of_an_image(image: Root) -> None:
    (image.here / "opt/cuda/libcublas.so.12").rename(image.here / "opt/cuda/libcublas.so.12.8.4.1")
    (image.here / "opt/cuda/libcublas.so.12").symlink_to("libcublas.so.12.8.4.1")
    done = libs("--root", image.here, *IMAGE_ENV)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == """\
GPU libraries by the names that programs open: /venv (/venv/bin/python3.12, /lib64/ld-linux-x86-64.so.2)

libcuda.so.1: not found, it comes with the host's driver
libnvidia-ml.so.1: not found, it comes with the host's driver
libcudart.so.12: in no search path; only by its path, or through the RPATH of what needs it:
    /venv/lib/python3.12/site-packages/torch/lib/libcudart.so.12
libcublas.so.12 => /opt/cuda/libcublas.so.12 [LD_LIBRARY_PATH], 12.8.4.1
    in no search path: /venv/lib/python3.12/site-packages/torch/lib/libcublas.so.12
"""
    )
    found = document("--root", image.here, *IMAGE_ENV)
    libraries = found["libraries"]
    assert isinstance(libraries, list)
    assert [each["soname"] for each in libraries] == [
        "libcuda.so.1",
        "libnvidia-ml.so.1",
        "libcudart.so.12",
        "libcublas.so.12",
    ]


def test_a_file_by_its_path(workshop: Workshop) -> None:
    workshop.lib("lib/libcudart.so.12")
    target = workshop.program("libcudart.so.12", rpath="$ORIGIN/../lib")
    workshop.lib("env/libcuda.so.1")
    done = libs(target, "--env", f"LD_LIBRARY_PATH={workshop.here}/env")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert (
        done.stdout
        == f"""\
{target}
└── libcudart.so.12 => {workshop.here}/bin/../lib/libcudart.so.12 [RPATH of program]
    └── libcuda.so.1 (dlopen: first use) => {workshop.here}/env/libcuda.so.1 [LD_LIBRARY_PATH]
"""
    )


def test_a_name_is_opened_by_a_program_of_its_own(workshop: Workshop) -> None:
    workshop.lib("env/libcuda.so.1")
    done = libs("libcuda.so.1", LD_LIBRARY_PATH=f"{workshop.here}/env")
    assert done.returncode == 0
    assert done.stdout == (
        "libcuda.so.1, opened by a program of its own\n"
        f"└── libcuda.so.1 (dlopen) => {workshop.here}/env/libcuda.so.1 [LD_LIBRARY_PATH]\n"
    )
    assert libs("libcuda.so.1", LD_LIBRARY_PATH=f"{workshop.here}/none").returncode == 1


def test_files_for_another_machine_and_dangling_links_are_named(root: Root) -> None:
    for folder in ("a", "c"):
        root.lib(f"{folder}/libx.so")
    with open(root.here / "a/libx.so", "r+b") as file:
        file.seek(18)
        file.write(struct.pack("<H", 183))
    (root.here / "b").mkdir()
    (root.here / "b/libx.so").symlink_to("libx.so.1")
    target = root.program("libx.so")
    done = libs(f"/bin/{target.name}", "--root", root.here, "--env", "LD_LIBRARY_PATH=/a:/b:/c")
    assert done.returncode == 0
    assert done.stdout.endswith(
        "\nlibx.so: /a/libx.so (LD_LIBRARY_PATH) is passed over: for aarch64\n"
        "libx.so: /b/libx.so (LD_LIBRARY_PATH) is passed over: a dangling link to libx.so.1\n"
    )


def test_a_missing_symbol_version_is_a_problem(workshop: Workshop) -> None:
    """What the version script of the newer library defines and the older one does not."""
    compile_ = ["gcc", "-shared", "-fPIC", "-nostdlib", "-Wl,--enable-new-dtags", "-Wl,-rpath,$ORIGIN/new"]
    soname = "-Wl,-soname,libcublas.so.12"
    target = workshop.here / "libuser.so"
    (workshop.here / "library.c").write_text("int old(void) { return 1; }\nint fresh(void) { return 2; }\n")
    (workshop.here / "user.c").write_text("int fresh(void); int use(void) { return fresh(); }\n")
    for folder, names in (("new", "{ global: old; }; V2 { global: fresh; } V1"), ("env", "{ global: old; local: *; }")):
        (workshop.here / folder).mkdir()
        (workshop.here / f"{folder}.map").write_text(f"V1 {names};\n")
        made = ["library.c", soname, f"-Wl,--version-script={folder}.map", "-o", f"{folder}/libcublas.so.12"]
        subprocess.run([*compile_, *made], check=True, cwd=workshop.here)
    subprocess.run([*compile_, "user.c", "new/libcublas.so.12", "-o", target], check=True, cwd=workshop.here)
    assert libs(target, LD_LIBRARY_PATH="").returncode == 1, "libcuda.so.1 is not there"
    done = libs(target, LD_LIBRARY_PATH=f"{workshop.here}/env")
    assert done.returncode == 1
    said = f"{workshop.here}/env/libcublas.so.12: version `V2' not found (required by {target})"
    assert said in done.stdout
    real = subprocess.run(
        [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(target)!r})"],
        env={**os.environ, "LD_LIBRARY_PATH": f"{workshop.here}/env"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said in real.stderr


def test_what_could_not_be_read_is_not_a_pass(workshop: Workshop) -> None:
    """The dynamic linker would crash on it: the table of needed versions lies nowhere."""
    source = workshop.here / "user.c"
    source.write_text('int puts(const char *); int use(void) { return puts(""); }\n')
    target = workshop.here / "libuser.so"
    subprocess.run(["gcc", "-shared", "-fPIC", str(source), "-o", target], check=True)
    data = bytearray(target.read_bytes())
    at = data.index(struct.pack("<Q", 0x6FFFFFFE))
    data[at + 8 : at + 16] = struct.pack("<Q", 1 << 40)
    target.write_bytes(data)
    done = libs(target)
    assert done.returncode == 3, done.stdout
    assert done.stdout.endswith(f"\n{target}: what dynamic tag 0x6ffffffe points to is in no segment\n")
    assert document(target)["unread"] == [f"{target}: what dynamic tag 0x6ffffffe points to is in no segment"]


def test_musl_roots(root: Root) -> None:
    if not os.path.exists(MUSL):
        missing("gpucheck libs in a root with musl", "apt-get install musl")
    made = Root(root.here, root.shared, interpreter=MUSL)
    made.lib("usr/lib/libcudart.so.12")
    target = made.program("libcudart.so.12")
    done = libs(f"/bin/{target.name}", "--root", made.here)
    assert done.returncode == 0
    assert "└── libcudart.so.12 => /usr/lib/libcudart.so.12 [default directory]\n" in done.stdout


def test_colours_only_on_a_terminal(image: Root) -> None:
    import pty

    arguments = [sys.executable, "-m", "gpucheck", "libs", "--root", str(image.here), *IMAGE_ENV]
    for options, coloured in (([], True), (["--no-color"], False)):
        reader, writer = pty.openpty()
        subprocess.run([*arguments, *options], stdout=writer, env={**os.environ, "TERM": "xterm"}, check=False)
        os.close(writer)
        shown = os.read(reader, 1 << 16)
        os.close(reader)
        assert (b"\x1b[2m[LD_LIBRARY_PATH]\x1b[0m" in shown) is coloured
        assert (b"\x1b[31mnot found\x1b[0m" in shown) is coloured
    assert "\x1b" not in libs("--root", image.here, *IMAGE_ENV).stdout


def test_output_goes_to_a_file(image: Root, tmp_path: Path) -> None:
    place = tmp_path / "libs.txt"
    done = libs("torch", "--root", image.here, *IMAGE_ENV, "--output", place)
    assert (done.returncode, done.stdout) == (1, "")
    assert place.read_text().startswith("torch 2.9.1, imported by /venv/bin/python3.12\n")


def test_names_that_are_no_utf_8_go_out_escaped(workshop: Workshop) -> None:
    target = workshop.lib("libcudart.so.12")
    folder = os.fsdecode(os.fsencode(workshop.here) + b"/\xff")
    os.mkdir(folder)
    os.rename(target, f"{folder}/libcudart.so.12")
    shown = f"{workshop.here}/\\udcff/libcudart.so.12"
    assert libs(f"{folder}/libcudart.so.12").stdout.startswith(f"{shown}\n└── libcuda.so.1")
    assert document(f"{folder}/libcudart.so.12")["target"] == {
        "kind": "file",
        "name": "libcudart.so.12",
        "path": f"{folder}/libcudart.so.12",
        "interpreter": None,
    }


def test_a_list_of_files_that_makes_no_sense(image: Root) -> None:
    files = ("a\0b.so", "../../../../etc/passwd.so", "/etc/x.so", "gone/_x.so", "\udcff/_y.so", '"open')
    folder = image.here / SITE / "odd-1.dist-info"
    folder.mkdir()
    (folder / "RECORD").write_bytes("".join(f"{file},,\n" for file in files).encode("utf-8", "surrogateescape"))
    done = libs("odd", "--root", image.here, *IMAGE_ENV)
    assert (done.returncode, done.stderr) == (1, "")
    assert "gone/_x.so is not there; opened by /usr/lib/libpython3.12.so.1.0." in done.stdout


def test_a_root_of_another_machine(root: Root, tmp_path: Path) -> None:
    """The files are x86-64 ones with the machine number changed: only headers count."""
    arm = Workshop(root.here, root.shared, interpreter="/lib/ld-linux-aarch64.so.1")
    target = arm.program("libcudart.so.12")
    library = arm.lib("usr/lib/aarch64-linux-gnu/libcudart.so.12")
    for path in (target, library):
        with open(path, "r+b") as file:
            file.seek(18)
            file.write(struct.pack("<H", 183))
    found = document("/bin/program", "--root", root.here)
    assert found["linker"] == "/lib/ld-linux-aarch64.so.1"
    assert found["missing"] == ["libcuda.so.1"]
    resolutions = found["resolutions"]
    assert isinstance(resolutions, list)
    assert (resolutions[0]["path"], resolutions[0]["how"]) == (
        "/usr/lib/aarch64-linux-gnu/libcudart.so.12",
        "default",
    )


def test_bad_input_is_one_line(workshop: Workshop) -> None:
    (workshop.here / "text.so").write_text("hello\n")
    cut = workshop.lib("cut.so")
    cut.write_bytes(cut.read_bytes()[:100])
    for arguments, message in (
        (("/no/such",), "/no/such: No such file or directory"),
        (
            (str(workshop.here),),
            f"{workshop.here}: is a directory; name a library or program in it, or without a target: gpucheck libs",
        ),
        ((f"{workshop.here}/text.so",), f"{workshop.here}/text.so: not an ELF file"),
        ((str(cut),), f"{cut}: truncated: ends before byte "),
        (("--format", "xml"), "--format xml: choose one of text, json"),
        (("--root", "/no/such/root"), "--root /no/such/root: No such file or directory"),
        (("--python", "/no/python"), "--python /no/python: there is no interpreter or environment"),
        (("--env", "NAME"), "--env NAME: expected NAME=VALUE"),
        (("--root", str(workshop.here)), "/lib: no dynamic linker (ld.so) is there"),
    ):
        done = libs(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert done.stderr.startswith(f"gpucheck: {message}"), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


def test_an_unreadable_file_is_one_line(workshop: Workshop) -> None:
    secret = workshop.lib("secret.so")
    secret.chmod(0)
    if os.geteuid() == 0:
        # Root reads everything.
        command = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-m", "gpucheck", "libs", str(secret)]
        for folder in (workshop.here, *workshop.here.parents):
            if folder.stat().st_uid == os.geteuid() and folder != Path("/") and "pytest" in str(folder):
                folder.chmod(folder.stat().st_mode | 0o055)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        if "gpucheck" not in done.stderr:
            missing("an unreadable file as another user", "run the tests as an ordinary user")
    else:
        done = libs(secret)
    assert (done.returncode, done.stderr) == (2, f"gpucheck: {secret}: Permission denied\n")
