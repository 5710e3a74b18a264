"""The images that the tests look into, by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.cache import driver_folder, wheel_packages
from tests.contents.workshop import Shop, make_venv, remove_distribution

#: Name: the environment in the cache, and which of NVIDIA's distributions are kept of it, to keep the image small.
WHEELS = {
    "jax": ("jax", "nvidia_(cuda_runtime|cuda_nvrtc|cuda_nvcc|nvjitlink|cuda_cupti|nccl_cu13|cusparse)"),
    "tensorflow": ("tensorflow", ".*"),
    "onnxruntime": ("onnxruntime-gpu", "nvidia_(cuda_runtime|cuda_nvrtc|nvjitlink|curand)"),
    "cupy": ("cupy", "nvidia_(cuda_runtime|cuda_nvrtc|nvjitlink|curand)_cu12"),
    "xgboost": ("xgboost", ".*"),
}
RUNNABLE = (*WHEELS, "conda", "doubled", "stubs", "compat", "driver")
TOOLKIT = "/usr/local/cuda-13.2"


def find(shop: Shop, name: str) -> str:
    """The name of an image in the engine; it is built when it is not there."""
    if name in WHEELS:
        return shop.with_packages(name, *WHEELS[name])
    made = {"doubled": _doubled, "stubs": _stubs, "compat": _compat, "driver": _driver, "cpu": _cpu, "conda": _conda}
    return made[name](shop)


def _doubled(shop: Shop) -> str:
    """Wheels of CUDA 13.5 on a toolkit 13.2, as a devel image with a framework has them."""

    def fill(context: Path) -> None:
        libraries = context / "toolkit/targets/x86_64-linux/lib"
        libraries.mkdir(parents=True)
        (context / "toolkit/lib64").symlink_to("targets/x86_64-linux/lib")
        version = "13.2.86"
        for found in (wheel_packages("torch") / "nvidia/cu13/lib").glob("lib*.so.13"):
            if found.name.startswith(("libcudart", "libnvrtc", "libnvJitLink")):
                # The toolkit's files carry their version in their names, the wheels' do not.
                os.link(found, libraries / f"{found.name.removesuffix('.13')}.{version}")
                (libraries / found.name).symlink_to(f"{found.name.removesuffix('.13')}.{version}")
        (context / "000_cuda.conf").write_text(f"{TOOLKIT}/targets/x86_64-linux/lib\n")

    lines = [
        f"FROM {find(shop, 'onnxruntime')}",
        "USER 0",
        f"COPY toolkit {TOOLKIT}",
        "COPY 000_cuda.conf /etc/ld.so.conf.d/",
        f"RUN ln -s {TOOLKIT} /usr/local/cuda && /sbin/ldconfig",
        "USER 1000:1000",
    ]
    return shop.build("doubled", lines, fill, salt="versions in names")


def _stubs(shop: Shop) -> str:
    """The toolkit's stub before the driver's libcuda, with the name that some images give it."""

    def fill(context: Path) -> None:
        (context / "stubs").mkdir()
        shutil.copy(small_library(context, "libcuda.so.1"), context / "stubs/libcuda.so")
        (context / "stubs/libcuda.so.1").symlink_to("libcuda.so")

    lines = [
        f"FROM {find(shop, 'xgboost')}",
        f"COPY stubs {TOOLKIT}/lib64/stubs",
        f"ENV LD_LIBRARY_PATH={TOOLKIT}/lib64/stubs",
    ]
    return shop.build("stubs", lines, fill)


def _compat(shop: Shop) -> str:
    """A driver's libcuda in a compat folder that ld.so.conf.d names, as vLLM's image has it."""

    def fill(context: Path) -> None:
        (context / "compat").mkdir()
        (real,) = driver_folder(550).glob("libcuda.so.550.*")
        shutil.copy(real, context / "compat")
        (context / "compat/libcuda.so.1").symlink_to(real.name)
        (context / "compat.conf").write_text(f"{TOOLKIT}/compat\n")

    lines = [
        f"FROM {find(shop, 'xgboost')}",
        "USER 0",
        f"COPY compat {TOOLKIT}/compat",
        "COPY compat.conf /etc/ld.so.conf.d/00-compat.conf",
        f"RUN ln -s {TOOLKIT} /usr/local/cuda && /sbin/ldconfig",
        "USER 1000:1000",
    ]
    return shop.build("compat", lines, fill)


def _driver(shop: Shop) -> str:
    """A driver's libraries baked in, as apt installs them."""

    def fill(context: Path) -> None:
        (context / "lib").mkdir()
        for found in driver_folder(535).glob("lib*.so*"):
            shutil.copy(found, context / "lib", follow_symlinks=False)

    lines = [
        f"FROM {find(shop, 'xgboost')}",
        "USER 0",
        "COPY lib /usr/lib/x86_64-linux-gnu",
        "RUN /sbin/ldconfig",
        "USER 1000:1000",
    ]
    return shop.build("driver", lines, fill)


def _conda(shop: Shop) -> str:
    """xgboost in an environment as conda lays it out: libraries in lib, what is installed in conda-meta."""
    packages = wheel_packages("xgboost")

    def fill(context: Path) -> None:
        home = context / "conda"
        make_venv(home, packages)
        (home / "pyvenv.cfg").unlink()
        site = next(home.glob("lib/python3*/site-packages"))
        for info in site.glob("nvidia_nccl*.dist-info"):
            for library in site.glob("nvidia/nccl/lib/lib*.so*"):
                os.link(library, home / "lib" / library.name)
            remove_distribution(site, info)
        (home / "conda-meta").mkdir()
        # The fields of a record that tell something: https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html
        record = {
            "name": "nccl",
            "version": "2.27.7",
            "build": "h0",
            "channel": "conda-forge",
            "files": ["lib/libnccl.so.2"],
        }
        (home / "conda-meta/nccl-2.27.7-h0.json").write_text(json.dumps(record))

    lines = [
        f"FROM {shop.interpreter()}",
        "COPY conda /opt/conda",
        "ENV CONDA_PREFIX=/opt/conda PATH=/opt/conda/bin:/usr/local/bin:/usr/bin:/bin NVIDIA_VISIBLE_DEVICES=all",
    ]
    return shop.build("conda", lines, fill, salt=str(sorted(entry.name for entry in packages.glob("*.dist-info"))))


def _cpu(shop: Shop) -> str:
    """A Python and nothing for GPUs."""
    return shop.interpreter()


def small_library(folder: Path, soname: str) -> Path:
    """A shared object of a few kilobytes, as the toolkit's stubs are."""
    source, made = folder / "empty.c", folder / f"{soname}.made"
    source.write_text("int cuInit(unsigned flags) { return 34; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", str(made), str(source)], check=True)
    return made
