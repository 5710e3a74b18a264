"""The whole answer for one target: the tree, what is missing and why, what shadows what."""

from __future__ import annotations

import datetime
import os
import struct
from collections import Counter
from pathlib import Path

import pytest

from gpucheck.elf import Process, find, find_linker, read_elf
from gpucheck.elf.closure import closure
from gpucheck.elf.dlopens import opened_by, rows, written_name
from gpucheck.elf.tree import render
from gpucheck.system import Local, Rootfs
from tests.elf.workshop import Root, Workshop


def framework(root: Root) -> Rootfs:
    """A little torch: cuDNN from the wheel, cuDART from a toolkit before it, no driver."""
    root.lib(
        "wheel/torch/libtorch.so", "libcudart.so.12", "libcudnn.so.9", "libgone.so.1", rpath="$ORIGIN:$ORIGIN/../nv"
    )
    root.lib("wheel/nv/libcudart.so.12")
    root.lib("wheel/nv/libcudnn.so.9", "libcudart.so.12", rpath="$ORIGIN")
    root.lib("wheel/nv/libcudnn_graph.so.9", runpath="$ORIGIN")
    root.lib("opt/cuda/libcudart.so.12")
    os.symlink("libcuda.so.535.1", root.here / "opt/cuda/libcuda.so.1")
    root.env["LD_LIBRARY_PATH"] = "/opt/cuda"
    return Rootfs(str(root.here), root.env)


def test_the_tree_says_how_each_file_was_found(root: Root) -> None:
    found = closure(framework(root), "/wheel/torch/libtorch.so")
    text = render(found)
    tree, missing = text.split("\n\n")[:2]
    assert (
        tree
        == """\
/wheel/torch/libtorch.so
├── libcudart.so.12 => /wheel/torch/../nv/libcudart.so.12 [RPATH of libtorch.so]
│   └── libcuda.so.1 (dlopen: first use): not found
├── libcudnn.so.9 => /wheel/torch/../nv/libcudnn.so.9 [RPATH of libtorch.so]
│   ├── libcudnn_graph.so.9 (dlopen: first use) => /wheel/torch/../nv/libcudnn_graph.so.9 [RPATH of libcudnn.so.9]
│   │   ├── libcudnn_engines_precompiled.so.9 (dlopen: first use): not found
│   │   ├── libcudnn_engines_runtime_compiled.so.9 (dlopen: first use): not found
│   │   ├── libcudnn_heuristic.so.9 (dlopen: first use): not found
│   │   ├── libcudnn_engines_tensor_ir.so.9 (dlopen: newer engines): not found, which is normal
│   │   └── libcuda.so.1 (dlopen: first use): not found
│   ├── libcudnn_ops.so.9 (dlopen: legacy interface): not found
│   ├── libcudnn_cnn.so.9 (dlopen: legacy interface): not found
│   ├── libcudnn_adv.so.9 (dlopen: legacy interface): not found
│   └── libcudnn_ext.so.9 (dlopen: extensions): not found, which is normal
└── libgone.so.1: not found"""
    )
    assert missing.startswith("""\
libgone.so.1 is not there; needed by /wheel/torch/libtorch.so. Looked at, in this order:
  1. RPATH: /wheel/torch/libgone.so.1: not there
  2. RPATH: /wheel/torch/../nv/libgone.so.1: not there
  3. LD_LIBRARY_PATH: /opt/cuda/libgone.so.1: not there
  4. ld.so.cache: /etc/ld.so.cache is not there (ldconfig makes it)
""")
    assert "  3. LD_LIBRARY_PATH: /opt/cuda/libcuda.so.1: a dangling link to libcuda.so.535.1\n" in text
    assert text.endswith(
        "\nlibcudart.so.12: /wheel/torch/../nv/libcudart.so.12 hides /opt/cuda/libcudart.so.12 (LD_LIBRARY_PATH)\n"
    )


def test_what_is_normally_absent_is_not_missing(root: Root) -> None:
    found = closure(framework(root), "/wheel/torch/libtorch.so")
    names = {each.soname for each in found.missing}
    assert {"libgone.so.1", "libcuda.so.1", "libcudnn_ops.so.9"} <= names
    assert "libcudnn_engines_tensor_ir.so.9" not in names
    without = closure(Rootfs(str(root.here), root.env), "/wheel/torch/libtorch.so", dlopens=False)
    assert [each.soname for each in without.missing] == ["libgone.so.1"]


def test_everything_shows_what_was_already_loaded(root: Root) -> None:
    text = render(closure(framework(root), "/wheel/torch/libtorch.so", dlopens=False), everything=True)
    assert "    └── libcudart.so.12 => /wheel/torch/../nv/libcudart.so.12 [already loaded]\n" in text.replace("│", " ")


def test_the_builtins_of_nvrtc_are_those_that_it_names(workshop: Workshop) -> None:
    """The number is in no name of the wheel's files but in the library itself."""
    source = workshop.here / "nvrtc.c"
    source.write_text('const char *const names[] = {"libnvrtc-builtins.so", "libnvrtc-builtins.so.12.9"};\n')
    target = workshop.here / "libnvrtc.so.12"
    os.system(f"gcc -shared -nostdlib -fPIC -Wl,-soname,libnvrtc.so.12 -o {target} {source}")
    elf = read_elf(Local(), str(target))
    assert written_name(Local(), elf, "libnvrtc-builtins.so.") == "libnvrtc-builtins.so.12.9"
    assert [name for name, row in opened_by(Local(), elf) if row.required] == ["libnvrtc-builtins.so.12.9"]


@pytest.mark.parametrize(
    ("texts", "opens"),
    [
        (("libnvrtc.so",), False),  # 8.5.0.96
        (("libnvrtc.so", "cudnnRuntimeKernelGenerationInternal"), True),  # 8.6.0.163, 8.7.0.84
        (("libnvrtc.so.12", "cudnnRuntimeKernelGenerationInternal"), False),
        ((), False),  # 8.9.0.131, 8.9.2.26
    ],
)
def test_a_name_that_only_some_versions_open(workshop: Workshop, texts: tuple[str, ...], opens: bool) -> None:
    """Which of cuDNN 8 open libnvrtc.so when they are loaded (LD_DEBUG=libs) is told by strings in them."""
    source = workshop.here / "cudnn.c"
    names = ", ".join(f'"{text}"' for text in ("libcuda.so.1", *texts))
    source.write_text(f"const char *const names[] = {{{names}}};\n")
    target = workshop.here / "libcudnn_cnn_infer.so.8"
    os.system(f"gcc -shared -nostdlib -fPIC -Wl,-soname,libcudnn_cnn_infer.so.8 -o {target} {source}")
    assert ("libnvrtc.so" in [name for name, _ in opened_by(Local(), read_elf(Local(), str(target)))]) is opens


def test_find_is_dlopen_from_a_plain_program(root: Root) -> None:
    root.lib("env/libcuda.so.1")
    root.lib("usr/lib/libcuda.so.1")
    plain = find(Rootfs(str(root.here)), "libcuda.so.1")
    assert (plain.path, plain.how, plain.requester) == ("/usr/lib/libcuda.so.1", "default", None)
    given = find(Rootfs(str(root.here)), "libcuda.so.1", env={"LD_LIBRARY_PATH": "/env"})
    assert (given.path, given.how) == ("/env/libcuda.so.1", "LD_LIBRARY_PATH")
    program = root.program("libm.so.6", rpath="/env")
    root.lib("env/libm.so.6")
    from_program = find(Rootfs(str(root.here)), "libcuda.so.1", executable=f"/bin/{program.name}")
    assert (from_program.path, from_program.how) == ("/env/libcuda.so.1", "RPATH")


def test_a_root_without_a_linker_is_an_error(tmp_path: Path) -> None:
    from gpucheck.elf import ElfError

    with pytest.raises(ElfError, match=r"^/lib: no dynamic linker \(ld.so\) is there$"):
        find(Rootfs(str(tmp_path)), "libcuda.so.1")


def test_a_root_of_another_machine_is_read_as_that_machine(tmp_path: Path, workshop: Workshop) -> None:
    """An aarch64 root on x86-64: the files are x86-64 ones with the machine number changed, as only headers count."""
    made = Workshop(tmp_path, workshop.shared, interpreter="/lib/ld-linux-aarch64.so.1")
    arm = "usr/lib/aarch64-linux-gnu"
    paths = [
        made.program("libcudart.so.12", "libx.so"),
        made.lib(f"{arm}/libcudart.so.12", "libdeep.so", runpath="$ORIGIN/$PLATFORM"),
        made.lib(f"{arm}/aarch64/libdeep.so"),
        made.lib(f"{arm}/libx.so"),
    ]
    for path in paths:
        with open(path, "r+b") as file:
            file.seek(18)
            file.write(struct.pack("<H", 183))
    made.lib("opt/libx.so")
    process = closure(Rootfs(str(tmp_path)), "/bin/program", env={"LD_LIBRARY_PATH": "/opt"}, dlopens=False)
    assert [(each.soname, each.path, each.how) for each in process.resolutions] == [
        ("libcudart.so.12", f"/{arm}/libcudart.so.12", "default"),
        ("libx.so", f"/{arm}/libx.so", "default"),
        ("libdeep.so", f"/{arm}/aarch64/libdeep.so", "RUNPATH"),
    ]
    assert process.resolutions[1].candidates[0].skipped == "for x86_64"


def test_lib64_distributions_without_their_linker_are_read_as_such(tmp_path: Path, workshop: Workshop) -> None:
    made = Workshop(tmp_path, workshop.shared)
    made.lib("usr/lib64/libx.so")
    made.lib("usr/lib/libx.so")
    os.symlink("usr/lib64", tmp_path / "lib64")
    elf = read_elf(Rootfs(str(tmp_path)), f"/bin/{made.program('libx.so').name}")
    process = Process(Rootfs(str(tmp_path)), find_linker(Rootfs(str(tmp_path)), elf))
    assert process.dlopen("libx.so").path == "/lib64/libx.so"
    assert (process.linker.directories, process.linker.lib) == (("/lib64", "/usr/lib64"), "lib64")


def test_every_row_is_whole() -> None:
    keys = Counter((row.opener, row.opens) for row in rows())
    assert [key for key, count in keys.items() if count > 1] == []
    for row in rows():
        assert row.source.startswith("https://"), row
        assert datetime.date(2026, 1, 1) <= row.checked, row
        assert row.when and ".so" in row.opener and ".so" in row.opens, row
        assert "{" not in row.opens.replace("{number}", "").replace("{origin}", ""), row
        assert "{number}" not in row.opens or ".so." in row.opener, row
