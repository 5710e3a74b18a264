"""Python environments and the GPU frameworks in them, read from files: nothing is imported, nothing is run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from gpucheck.elf import Elf, ElfError, read_elf
from gpucheck.elf.sections import read_sections
from gpucheck.facts import Distributed, Framework, Python, Seen
from gpucheck.probes.text import read_text
from gpucheck.system import System
from gpucheck.versions import CudaVersion

#: Where interpreters keep packages when nothing points at an environment.
PLACES: Final = (
    "/usr/local/lib/python3*/*-packages",
    "/usr/lib/python3/dist-packages",
    "/usr/lib/python3*/site-packages",
    "/usr/lib64/python3*/site-packages",
    "/opt/conda/lib/python3*/site-packages",
    "/opt/venv/lib/python3*/site-packages",
    "/app/.venv/lib/python3*/site-packages",
    "/venv/lib/python3*/site-packages",
)


def pythons(system: System, interpreter: str | None = None) -> tuple[Python, ...]:
    """The environments that a program started here would use, the likeliest first.

    ``interpreter``: a Python executable or an environment's folder that was asked for; then only that.
    """
    found: dict[str, Python] = {}
    for prefix, chosen_by in _prefixes(system, interpreter):
        packages = tuple(
            path
            for pattern in ("lib/python3*/site-packages", "lib64/python3*/site-packages", "lib/python3*/dist-packages", "local/lib/python3*/dist-packages", "lib/python3/dist-packages")
            for path in system.glob(f"{prefix.rstrip('/')}/{pattern}")
        )  # fmt: skip
        packages = (*user_site(system, prefix, packages), *packages)
        if packages and not any(set(packages) <= set(known.packages) for known in found.values()):
            found.setdefault(prefix, Python(prefix, _python_version(packages), packages, chosen_by))
    if interpreter is None and not found:
        packages = tuple(path for pattern in PLACES for path in system.glob(pattern))
        if packages:
            found["/"] = Python("/", _python_version(packages), packages, "default places")
    if interpreter is None and (extra := _pythonpath(system)):
        found["PYTHONPATH"] = Python("PYTHONPATH", "", extra, "PYTHONPATH")
    return tuple(found.values())


def user_site(system: System, prefix: str, packages: tuple[str, ...]) -> tuple[str, ...]:
    """The user's own folder, which comes before an interpreter's unless that is of a virtual environment.

    Source: https://docs.python.org/3/library/site.html (USER_SITE, PYTHONUSERBASE, PYTHONNOUSERSITE)
    """
    home = system.env.get("PYTHONUSERBASE") or (f"{home}/.local" if (home := system.env.get("HOME")) else "")
    version = _python_version(packages)
    if not home or not version or system.env.get("PYTHONNOUSERSITE") or system.resolve(f"{prefix}/pyvenv.cfg"):
        return ()
    folder = f"{home}/lib/python{version}/site-packages"
    return (folder,) if folder not in packages and system.resolve(folder) else ()


def _prefixes(system: System, interpreter: str | None) -> Iterator[tuple[str, str]]:
    if interpreter is not None:
        yield _prefix_of(system, interpreter), "--python"
        return
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if value := system.env.get(name):
            yield value, name
    for folder in system.env.get("PATH", "").split(":"):
        for name in ("python3", "python"):
            if folder and system.resolve(f"{folder}/{name}"):
                yield _prefix_of(system, f"{folder}/{name}"), f"{name} on PATH"
                break
    if system.live and not getattr(sys, "frozen", False):
        yield sys.prefix, "runs gpucheck"


def _prefix_of(system: System, interpreter: str) -> str:
    """An environment keeps pyvenv.cfg beside its bin folder, whatever its python links to (PEP 405)."""
    if interpreter.rstrip("/").rsplit("/", 1)[-1].startswith("python") and "/bin/" in interpreter:
        prefix = interpreter.rsplit("/bin/", 1)[0]
        if system.resolve(f"{prefix}/pyvenv.cfg"):
            return prefix
        real = system.resolve(interpreter) or interpreter
        return real.rsplit("/bin/", 1)[0] if "/bin/" in real else prefix
    return interpreter.rstrip("/") or "/"


def _python_version(packages: tuple[str, ...]) -> str:
    return next((match[1] for path in packages if (match := re.search(r"/python(3\.\d+)/", path))), "")


def _pythonpath(system: System) -> tuple[str, ...]:
    parts = system.env.get("PYTHONPATH", "").split(":")
    return tuple(part for part in parts if part.startswith("/") and system.glob(f"{part.rstrip('/')}/*.dist-info"))


def search_path(environment: Python, environments: Sequence[Python]) -> tuple[str, ...]:
    """The folders of packages on an environment's sys.path: those of PYTHONPATH come before its own.

    What PYTHONPATH itself names is imported by the first environment's interpreter.
    """
    extra = [path for each in environments if each.chosen_by == "PYTHONPATH" for path in each.packages]
    own = environments[0] if environment.chosen_by == "PYTHONPATH" and environments else environment
    return tuple(dict.fromkeys((*extra, *own.packages)))


def distributions(system: System, environments: tuple[Python, ...]) -> tuple[Distributed, ...]:
    """Every installed distribution, from the names of the ``*.dist-info`` folders (PEP 376), first on the path first."""
    found: dict[tuple[str, str], Distributed] = {}
    for environment in environments:
        for folder in environment.packages:
            try:
                names = system.names(folder)
            except OSError:
                continue
            for entry in names:
                match = re.fullmatch(r"(.+?)-(\d[^-]*)(?:\.dist-info|(?:-py3[\d.]*)?\.egg-info)", entry)
                if match:
                    name = canonical(match[1])
                    found.setdefault((environment.prefix, name), Distributed(name, match[2], folder))
    return tuple(found.values())


def canonical(name: str) -> str:
    """The one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


#: Distributions that tell something about GPUs; only these go into a snapshot.
TELLING: Final = (
    r"nvidia-.*|cuda-.*|torch.*|pytorch-.*|tensorflow.*|jax.*|xgboost.*|lightgbm|cupy.*|onnxruntime.*|triton.*|vllm.*|numba.*|numpy"
    r"|paddlepaddle.*|tensorrt.*|cudf.*|cuml.*|cugraph.*|cuspatial.*|cuvs.*|rmm.*|keras|flash-attn.*|bitsandbytes|deepspeed|xformers|catboost|pynvml"
    r"|ctranslate2|faiss.*|llama-cpp-python|transformer-engine.*|opencv-.*|mamba-ssm|causal-conv1d|auto-gptq|apex|dgl.*|pycuda|mxnet.*"
    r"|pyg-lib|detectron2|mmcv.*|sgl-kernel|sglang|flashinfer.*|natten|spconv.*|pytorch3d|fbgemm-gpu.*|gsplat|warp-lang|groundingdino|pynvvideocodec|pynvcodec|pyopencl|nvdiffrast"
)


def telling(installed: tuple[Distributed, ...]) -> tuple[Distributed, ...]:
    """Those distributions that matter here, by name."""
    return tuple(
        sorted(
            (dist for dist in installed if re.fullmatch(TELLING, dist.name)),
            key=lambda dist: (dist.location, dist.name),
        )
    )


# -- frameworks --------------------------------------------------------------------------------------------------------


def frameworks(system: System, installed: tuple[Distributed, ...]) -> tuple[Framework, ...]:
    """The GPU frameworks among the installed distributions."""
    beside: dict[str, dict[str, str]] = {}
    for dist in installed:
        beside.setdefault(dist.location, {})[dist.name] = dist.version
    return tuple(
        reader(system, dist, beside[dist.location])
        for dist in sorted(installed, key=lambda dist: (dist.location, dist.name))
        if (reader := READERS.get(dist.name) or (named if re.fullmatch(NAMED, dist.name) else None))
    )


Reader = Callable[[System, Distributed, dict[str, str]], Framework]


def parse_torch_version(text: str) -> tuple[str, str | None]:
    """(version, CUDA version or None) from torch/version.py: ``cuda: Optional[str] = '12.6'`` or ``cuda = None``."""
    version = re.search(r"^__version__\s*(?::[^=]*)?=\s*'([^']*)'", text, re.MULTILINE)
    cuda = re.search(r"^cuda\s*(?::[^=]*)?=\s*'([^']*)'", text, re.MULTILINE)
    return version[1] if version else "", cuda[1] if cuda else None


def torch(system: System, dist: Distributed, beside: dict[str, str]) -> Framework:
    """version.py is written by the build; libtorch_cuda.so is only in GPU builds."""
    path = f"{dist.location}/torch/version.py"
    text = read_text(system, path)
    version, cuda = parse_torch_version(text.value) if isinstance(text, Seen) else (dist.version, None)
    built = CudaVersion.parse(cuda) if cuda else None
    has_cuda = bool(system.glob(f"{dist.location}/torch/lib/libtorch_cuda.so"))
    gpu = None if not isinstance(text, Seen) else built is not None and has_cuda
    codes = torch_architectures(system, f"{dist.location}/torch/lib/libtorch_python.so") if gpu else ()
    return Framework(
        "torch", version or dist.version, dist.location, gpu, built, built.major if built else None, codes, path
    )


def parse_assignments(text: str) -> dict[str, str]:
    """The pairs of a generated build information file: ``('cuda_version', '12.5.1')`` or ``cuda_version = '12.8'``."""
    pairs = re.findall(r"[\"'](\w+)[\"']\s*[:,]\s*[\"']?([\w.]+)", text)
    return dict(pairs + re.findall(r"^(\w+)\s*=\s*[\"']([^\"']*)", text, re.MULTILINE))


def parse_architectures(text: str) -> tuple[str, ...]:
    """The names like ``sm_80`` and ``compute_90`` in a text, each once, in order."""
    return tuple(dict.fromkeys(re.findall(r"\b(?:sm|compute)_\d{2,3}[af]?\b", text)))


TORCH_ARCHITECTURES: Final = re.compile(rb"(sm_\d{2,3}[af]? ?(?:(?:sm|compute)_\d{2,3}[af]? ?)*)\0")


def torch_architectures(system: System, library: str) -> tuple[str, ...]:
    """What the build was compiled for: TORCH_CUDA_ARCH_LIST as a string of libtorch_python.so, ``sm_75 sm_80 ...``."""
    try:
        (place,) = [
            section for section in read_sections(system, read_elf(system, library)) if section.name == ".rodata"
        ]
        found = system.search(library, TORCH_ARCHITECTURES, place.offset, place.size, b"sm_")
    except (ElfError, OSError, ValueError):
        return ()
    return parse_architectures(found.decode()) if found else ()


def tensorflow(system: System, dist: Distributed, beside: dict[str, str]) -> Framework:
    """build_info.py is written by the build: is_cuda_build, cuda_version."""
    path = f"{dist.location}/tensorflow/python/platform/build_info.py"
    text = read_text(system, path)
    said = parse_assignments(text.value) if isinstance(text, Seen) else {}
    built = CudaVersion.parse(said.get("cuda_version", ""))
    gpu = said.get("is_cuda_build") == "True" if "is_cuda_build" in said else None
    if not gpu or built is None:
        return Framework(dist.name, dist.version, dist.location, gpu, None, None, (), path)
    codes = parse_architectures(text.value) if isinstance(text, Seen) else ()
    return Framework(dist.name, dist.version, dist.location, gpu, built, built.major, codes, path)


def jax(system: System, dist: Distributed, beside: dict[str, str]) -> Framework:
    """jaxlib itself is a CPU build; a plugin of the name jax-cudaNN-plugin brings the GPU."""
    for name in sorted(beside, reverse=True):
        if match := re.fullmatch(r"jax-cuda(\d+)-plugin", name):
            return Framework(
                "jax",
                dist.version,
                dist.location,
                True,
                None,
                int(match[1]),
                (),
                f"{dist.location}/{name} {beside[name]}",
            )
    # Before the plugins the GPU build was told by the local part: jaxlib 0.4.13+cuda12.cudnn89.
    if match := re.search(r"\+cuda(\d+)", beside.get("jaxlib", "")):
        evidence = f"{dist.location}/jaxlib {beside['jaxlib']}"
        return Framework("jax", dist.version, dist.location, True, None, int(match[1]), (), evidence)
    return Framework(
        "jax", dist.version, dist.location, False, None, None, (), f"no jax-cuda*-plugin in {dist.location}"
    )


def onnxruntime(system: System, dist: Distributed, beside: dict[str, str]) -> Framework:
    """build_and_package_info.py is written by the build; onnxruntime-gpu has the CUDA provider beside it."""
    path = f"{dist.location}/onnxruntime/capi/build_and_package_info.py"
    text = read_text(system, path)
    said = parse_assignments(text.value) if isinstance(text, Seen) else {}
    built = CudaVersion.parse(said.get("cuda_version", ""))
    provider = system.glob(f"{dist.location}/onnxruntime/capi/libonnxruntime_providers_cuda.so")
    return Framework(
        dist.name, dist.version, dist.location, bool(provider), built, built.major if built else None, (), path
    )


def xgboost(system: System, dist: Distributed, beside: dict[str, str]) -> Framework:
    """The GPU build asks for NCCL of its CUDA major; xgboost-cpu for none."""
    path = f"{dist.location}/{dist.name.replace('-', '_')}-{dist.version}.dist-info/METADATA"
    text = read_text(system, path)
    wanted = (
        re.search(r"^Requires-Dist: nvidia-nccl-cu(\d+)", text.value, re.MULTILINE) if isinstance(text, Seen) else None
    )
    gpu = None if not isinstance(text, Seen) else bool(wanted)
    return Framework(dist.name, dist.version, dist.location, gpu, None, int(wanted[1]) if wanted else None, (), path)


#: RAPIDS and TensorRT name the CUDA major of their wheels.
NAMED: Final = r"(?:cudf|cuml|cugraph|cuspatial|cuvs|tensorrt)-cu(\d+)"


def named(system: System, dist: Distributed, beside: dict[str, str]) -> Framework:
    """The CUDA major is in the distribution's name: cudf-cu12."""
    match = re.fullmatch(NAMED, dist.name)
    major = int(match[1]) if match else None
    return Framework(dist.name, dist.version, dist.location, True, None, major, (), f"{dist.location}/{dist.name}")


def cupy(system: System, dist: Distributed, beside: dict[str, str]) -> Framework:
    """The CUDA major is in the distribution's name: cupy-cuda12x."""
    match = re.fullmatch(r"cupy-cuda(\d+)x", dist.name)
    return Framework(
        dist.name, dist.version, dist.location, True, None, int(match[1]) if match else None, (), dist.name
    )


#: The library that tells how a distribution was built, as a pattern below its location.
LIBRARIES: Final = {
    "ctranslate2": "ctranslate2.libs/libctranslate2*.so*",
    "lightgbm": "lightgbm/lib*/lib_lightgbm.so",
    "llama-cpp-python": "llama_cpp/lib/*.so",
    "paddlepaddle": "paddle/*/libpaddle.so",
    "paddlepaddle-gpu": "paddle/*/libpaddle.so",
}


def compiled(system: System, dist: Distributed, beside: dict[str, str]) -> Framework:
    """Device code in the library, or CUDA's libraries among those that it needs; LightGBM also reaches a GPU through OpenCL."""
    found = system.glob(f"{dist.location}/{LIBRARIES[dist.name]}")
    gpu: bool | None = None
    # llama.cpp has its kernels in libggml.so before 0.3, in libggml-cuda.so from then on.
    for path in found:
        try:
            elf = read_elf(system, path)
            sections = {section.name: section for section in read_sections(system, elf)}
            cuda = next(
                (match[1] for name in elf.needed if (match := re.match(r"lib(?:cudart|cublas)\.so\.(\d+)", name))), ""
            )
            gpu = bool(cuda) or ".nv_fatbin" in sections or (dist.name == "lightgbm" and _reaches_opencl(system, elf))
        except (ElfError, OSError):
            return Framework(dist.name, dist.version, dist.location, None, None, None, (), path)
        if gpu:
            return Framework(dist.name, dist.version, dist.location, gpu, None, int(cuda) if cuda else None, (), path)
    evidence = found[0] if found else f"{dist.location}/{LIBRARIES[dist.name]}"
    return Framework(dist.name, dist.version, dist.location, gpu, None, None, (), evidence)


def _reaches_opencl(system: System, elf: Elf) -> bool:
    """Built with USE_GPU: it needs OpenCL, or has it in itself, which the names of its symbols tell."""
    if any(name.startswith("libOpenCL") for name in elf.needed):
        return True
    from gpucheck.elf.symbols import read_symbols

    return any(b"opencl_error" in name for name in read_symbols(system, elf).names)


READERS: Final[dict[str, Reader]] = {
    "torch": torch,
    "tensorflow": tensorflow,
    "tensorflow-cpu": tensorflow,
    "jax": jax,
    "xgboost": xgboost,
    "xgboost-cpu": xgboost,
    "onnxruntime": onnxruntime,
    "onnxruntime-gpu": onnxruntime,
    "cupy-cuda11x": cupy,
    "cupy-cuda12x": cupy,
    "cupy-cuda13x": cupy,
    "xgboost-cu12": xgboost,
    **dict.fromkeys(LIBRARIES, compiled),
}
