"""The page on an image, as a person reads it."""

from __future__ import annotations

import re

from gpucheck.contents.page import render
from gpucheck.contents.records import Code, Contents, Copy, Folder, LayerSize, NamedLibrary, NodeNeed, Winner
from gpucheck.elf.fatbin import Target
from gpucheck.engine import judge
from gpucheck.facts import Distribution, Libc, Python, Seen
from gpucheck.record import replace
from tests.machines import image, torch

WHEEL, TOOLKIT = "/opt/venv/lib/python3.12/site-packages/nvidia/cu13/lib", "/usr/local/cuda-13.0/lib64"


def library(soname: str, *copies: tuple[str, str, int], winners: tuple[tuple[str, str, str], ...]) -> NamedLibrary:
    found = tuple(
        Copy(
            f"{folder}/{soname}",
            f"{folder}/{soname}",
            version,
            "",
            "toolkit" if folder == TOOLKIT else "wheel",
            size,
            1,
        )
        for folder, version, size in copies
    )
    return NamedLibrary(
        soname,
        found,
        tuple(Winner(who, f"{folder}/{soname}", f"{folder}/{soname}", how) for who, folder, how in winners),
        sum(size for _, _, size in copies) - max(size for _, _, size in copies),
    )


CONTENTS = Contents(
    reference="app:1.0",
    digest="sha256:1234",
    architecture="x86_64",
    user="1000:1000",
    entrypoint=("python3", "-m", "app"),
    command=(),
    labels=(("gpu-capable.cuda", "13"),),
    layers=(
        LayerSize("sha256:aa", "", 30_000_000, 123_000_000, 0),
        LayerSize("sha256:bb", "RUN ldconfig", 100, 9_000, 0),
        LayerSize("sha256:cc", "COPY  venv\n  /opt/venv", None, 2_000_000_000, 1_100_000_000),
    ),
    folders=(Folder(TOOLKIT, "/etc/ld.so.conf.d/cuda.conf"),),
    libraries=(
        library(
            "libcublas.so.13",
            (WHEEL, "13.4.1.3", 54_000_000),
            (TOOLKIT, "13.1.0", 60_000_000),
            winners=(("a program", TOOLKIT, "ld.so.cache"), ("torch 2.9.1", WHEEL, "RPATH of libtorch_cuda.so")),
        ),
        library(
            "libnccl.so.2",
            (WHEEL, "2.27.5", 250_000_000),
            winners=(("torch 2.9.1", WHEEL, "by its path"), ("vllm 0.12", WHEEL, "already loaded"), ("xgboost 3.2", WHEEL, "by its path")),
        ),
    ),
    code=(
        Code(
            "/opt/venv/torch/lib/libtorch_cuda.so",
            "torch 2.9.1",
            476,
            (Target("sm_80", 476), Target("sm_90", 476), Target("sm_90a", 4)),
            ("sm_80", "sm_90"),
        ),
        Code(f"{WHEEL}/libnccl.so.2", "nvidia-nccl-cu13 2.27.5", 1, (Target("sm_80", 1),), ("sm_80",)),
    ),
    unread=("/opt/lib/libx.so: truncated: file too short",),
    needs=(
        NodeNeed("machine", "x86_64", ""),
        NodeNeed("driver, native", "580.65.06 or newer, for all of CUDA 13.0 (torch 2.9.1)", "https://docs.nvidia.com/x (checked 2026-11-23)"),
        NodeNeed("GPU", "torch 2.9.1: 8.0 8.6 8.9 9.0 by machine code; no PTX, so no later GPU", "/opt/venv/torch"),
        NodeNeed("GPU", "vllm 0.12: its files do not tell", "/opt/venv/vllm"),
    ),
)  # fmt: skip

PAGE = """\
gpucheck image: app:1.0, x86_64, 2,123 MB in 3 layers

What it needs of a node
  machine                 x86_64
  driver, native          580.65.06 or newer, for all of CUDA 13.0 (torch 2.9.1)
                          https://docs.nvidia.com/x (checked 2026-11-23)
  GPU                     torch 2.9.1: 8.0 8.6 8.9 9.0 by machine code; no PTX, so no later GPU
                          vllm 0.12: its files do not tell

What is in it
  system                  Debian GNU/Linux 13 (trixie), glibc 2.41
  user                    1000:1000
  starts                  python3 -m app
  Python                  3.12 in /opt/venv (VIRTUAL_ENV)
  ML library              torch 2.7.1+cu126, built with CUDA 12.6
  environment             NVIDIA_VISIBLE_DEVICES=all
  search path             /etc/ld.so.conf.d/cuda.conf: /usr/local/cuda-13.0/lib64
  label                   gpu-capable.cuda=13

CUDA libraries
  /opt/venv/lib/python3.12/site-packages/nvidia/cu13/lib  304 MB
    libcublas.so.13  13.4.1.3      54 MB  torch 2.9.1 [RPATH of libtorch_cuda.so]
    libnccl.so.2     2.27.5       250 MB  torch 2.9.1 [by its path], vllm 0.12 [already loaded], 1 more
  /usr/local/cuda-13.0/lib64  60 MB
    libcublas.so.13  13.1.0        60 MB  a program [ld.so.cache]

Twice in it: 54 MB of copies
  libcublas.so.13         54 MB beyond the largest of 2, of different versions
                          13.4.1.3 in /opt/venv/lib/python3.12/site-packages/nvidia/cu13/lib: torch
                          2.9.1 gets it
                          13.1.0 in /usr/local/cuda-13.0/lib64: a program gets it

GPU code
  torch 2.9.1             libtorch_cuda.so: sm_80 sm_90 (476 fat binaries; besides sm_90a in 4)
  NVIDIA's libraries      1 with GPU code (--all lists it)

Layers
   1  123 MB              sha256:aa (30 MB stored)
   3  2,000 MB            COPY venv /opt/venv, 1,100 MB of it CUDA
                          1 layer below a hundredth of the image (--all lists them)

Could not be read
  /opt/lib/libx.so: truncated: file too short

"""


def page(**options: bool) -> str:
    snapshot = image(
        pythons=(Python("/opt/venv", "3.12", (), "VIRTUAL_ENV"),),
        frameworks=(torch("2.7.1+cu126"),),
        environment=(("NVIDIA_VISIBLE_DEVICES", "all"),),
    )
    host = replace(
        snapshot.host,
        distribution=Seen(Distribution("debian", "13", "Debian GNU/Linux 13 (trixie)"), "/etc/os-release"),
        libc=Seen(Libc("glibc", "2.41"), "/lib/libc.so.6"),
    )
    return render(judge(replace(snapshot, host=host)), CONTENTS, colour=False, **options)


def test_the_page() -> None:
    text = page()
    assert text.startswith(PAGE)
    rest = text.removeprefix(PAGE).splitlines()
    assert rest[0].startswith("? ") and "gpucheck compat IMAGE --node" in " ".join(rest)
    assert rest[-1] == "Verdict: compatible"


def test_all_shows_small_layers_and_the_code_of_nvidia() -> None:
    text = page(everything=True)
    assert "   2  0.0 MB              RUN ldconfig (0.0 MB stored)" in text
    assert "nvidia-nccl-cu13 2.27.5" in text
    assert "--all" not in text


def test_the_page_without_colours_is_that_with_them_taken_out() -> None:
    snapshot = judge(image())
    coloured = render(snapshot, CONTENTS, colour=True)
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == render(snapshot, CONTENTS, colour=False)
    assert "\x1b[" in coloured
