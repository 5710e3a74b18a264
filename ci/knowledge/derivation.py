"""What wheels say, table by table."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from ci.knowledge import compilers
from ci.knowledge.index import NotThere, Release, numbers, release, versions
from ci.knowledge.rows import Row, merge
from ci.knowledge.wheel import libraries, read


def version_of(row: Row) -> str:
    """The release to look into: the newest that the row speaks of."""
    version = row["versions"][-1] if "versions" in row else row["version"]
    return str(version).rsplit("-", 1)[-1]


def nothing_missing(rows: list[Row], problems: list[str]) -> list[Row]:
    """Of a table whose rows no artifact lists."""
    return []


@dataclass(frozen=True)
class Derivation:
    """How the rows of a table come from wheels."""

    file: str
    table: str
    distribution: Callable[[Row], str]
    """The distribution of a row; '' for a row that no wheel tells."""
    derive: Callable[[Row, Release], Row]
    """The values that a wheel tells of a row. Raises ``NotThere``."""
    version: Callable[[Row], str] = version_of
    """The release of the distribution. Raises ``NotThere``."""
    missing: Callable[[list[Row], list[str]], list[Row]] = nothing_missing
    """Rows that the artifacts have and the table has not, of all rows; what cannot be read is added to the second list."""


def torch(row: Row, found: Release) -> Row:
    """version.py, the architecture flags in libtorch_python.so (what torch.cuda.get_arch_list() gives), and METADATA."""
    text = read(found.url, "torch/version.py").decode()
    cuda = re.search(r"^cuda(?:: Optional\[str\])? = '([\d.]+)'", text, re.MULTILINE)
    if not cuda:
        raise NotThere(f"torch {found.version}: version.py names no CUDA")
    flags = re.findall(rb"(?:(?:sm|compute)_\d+[af]?[ \0])+", read(found.url, "torch/lib/libtorch_python.so"))
    names = max((flag.rstrip(b"\0").decode() for flag in flags), key=len, default="").split()
    return {
        "variant": "cu" + cuda[1].replace(".", ""),
        "cuda": cuda[1],
        "cudnn": found.pin(r"nvidia-cudnn-cu\d+"),
        "nccl": found.pin(r"nvidia-nccl-cu\d+"),
        "triton": found.pin("triton"),
        "sm": [capability(name) for name in names if name.startswith("sm_")],
        "ptx": [capability(name) for name in names if name.startswith("compute_")],
        "python": found.python,
    }


def tensorflow(row: Row, found: Release) -> Row:
    """build_info.py and METADATA. cuDNN is left: the file names only its major, the row what was tested."""
    text = read(found.url, "tensorflow/python/platform/build_info.py").decode()
    match = re.search(
        r"build_info = (?:collections\.OrderedDict\((\[.*?\])\)|(\{.*?\}))$", text, re.DOTALL | re.MULTILINE
    )
    info = dict(ast.literal_eval(match[1] or match[2])) if match else {}
    targets = re.findall(r"(?:sm|compute)_\d+", ",".join(info.get("cuda_compute_capabilities", ())))
    pins = found.pins("and-cuda")
    if not info.get("cuda_version"):
        raise NotThere(f"tensorflow {found.version}: build_info.py names no CUDA")
    return {
        "cuda": info["cuda_version"],
        "sm": [capability(name) for name in targets if name.startswith("sm_")],
        "ptx": [capability(name) for name in targets if name.startswith("compute_")],
        "python": found.python,
        "extra": "and-cuda" if pins else "",
        "pins": list(pins),
    }


#: The CUDA libraries of which the plugin's demands are kept.
JAX = ("cuda-runtime", "cuda-nvcc", "cublas", "cudnn", "nccl")


def jax(row: Row, found: Release) -> Row:
    """METADATA."""
    pins = [pin for name in JAX for pin in found.pins("with-cuda") if re.match(rf"nvidia-{name}(-cu\d+)?[<>=!~]", pin)]
    wanted = {name: next((pin for pin in pins if name in pin), "") for name in ("cudnn", "nccl")}
    return {
        "cudnn": re.sub(r"^[a-z0-9-]+", "", wanted["cudnn"]),
        "nccl": re.sub(r"^[a-z0-9-]+", "", wanted["nccl"]),
        "python": found.python,
        "extra": "with-cuda" if pins else "",
        "pins": pins,
    }


def onnxruntime(row: Row, found: Release) -> Row:
    """build_and_package_info.py, where the wheel has it, and METADATA."""
    derived: Row = {"pins": [*found.pins("cuda"), *found.pins("cudnn")]}
    derived["extra"] = "cuda,cudnn" if derived["pins"] else ""
    try:
        text = read(found.url, "onnxruntime/capi/build_and_package_info.py").decode()
    except NotThere:
        return derived
    cuda = re.search(r"^cuda_version = ['\"]([\d.]+)['\"]", text, re.MULTILINE)
    cudnn = re.search(r"^cudnn_version = ['\"](\d+)", text, re.MULTILINE)
    return {**derived, **({"cuda": cuda[1]} if cuda else {}), **({"cudnn": cudnn[1]} if cudnn else {})}


def vllm(row: Row, found: Release) -> Row:
    """METADATA, and the CUDA of the torch that it pins."""
    pinned = found.pin("torch")
    derived = {"torch": pinned, "python": found.python}
    if pinned and pinned != row.get("torch"):
        derived["cuda"] = torch({}, release("torch", pinned))["cuda"]
    return derived


def others(row: Row, found: Release) -> Row:
    """Requires-Python and, of xgboost, the NCCL wheel that tells the CUDA major."""
    derived: Row = {}
    if row.get("python"):
        derived["python"] = found.python
    if row["library"] == "xgboost":
        names = [
            name for name in (re.split(r"[<>=!~;\[ ]", pin)[0] for pin in found.pins()) if name.startswith("nvidia-")
        ]
        derived["pins"] = names
        derived["cuda"] = names[0].rsplit("cu", 1)[-1] if names else ""
    return derived


def wheels(row: Row, found: Release) -> Row:
    """The files of the wheel, and DT_SONAME of those that are not too large."""
    found_here = libraries(found.url)
    place = found_here.get(row["soname"])
    if place is None:
        raise NotThere(f"{found.name} {found.version}: no {row['soname']}, but {', '.join(sorted(found_here))}")
    same = {name for name, (folder, _) in found_here.items() if folder == place[0]}
    beside = row.get("beside", [])
    missing = [name for name in beside if name not in same]
    new = sorted(same - {row["soname"], *beside}) if beside or len(same) > 1 else []
    return {"folder": place[0], "beside": [name for name in beside if name not in missing] + new}


def capability(target: str) -> str:
    """``8.6`` of ``sm_86``."""
    number = re.sub(r"\D", "", target)
    return f"{number[:-1]}.{number[-1]}"


def new_builds(
    derive: Callable[[Row, Release], Row], *distributions: str
) -> Callable[[list[Row], list[str]], list[Row]]:
    """Rows of the releases that are newer than all that a table has, oldest first."""

    def missing(rows: list[Row], problems: list[str]) -> list[Row]:
        found = []
        for distribution in distributions:
            known = [
                numbers(version_of(row))
                for row in rows
                if row.get("variant", distribution) == distribution or row.get("pypi")
            ]
            try:
                there = sorted(versions(distribution), key=numbers)
            except NotThere as error:
                problems.append(str(error))
                continue
            for version in there:
                if numbers(version) <= max(known, default=()):
                    continue
                row: Row = {
                    "version": version,
                    "pypi": True,
                    "source": f"https://pypi.org/project/{distribution}/{version}/",
                }
                if distribution.startswith("jax-cuda"):
                    row = {"version": version, "variant": distribution, "cuda": distribution[8:10], **row}
                try:
                    found.append(merge(row, derive(row, release(distribution, version))))
                except NotThere as error:
                    problems.append(str(error))
        return found

    return missing


def of_pypi(distribution: str) -> Callable[[Row], str]:
    """Rows of the builds on PyPI."""
    return lambda row: distribution if row.get("pypi") else ""


# -- toolkits and capabilities -----------------------------------------------------------------------------------------


def toolkit(row: Row, found: Release) -> Row:
    """The newest PTX version that ptxas takes."""
    return {"ptx": compilers.ask(row["cuda"])[1]}


def gpu(row: Row, found: Release) -> Row:
    """The toolkits whose ptxas has the targets of the capability; what is older than the oldest wheel stays."""
    oldest, *_, newest = compilers.minors()
    name = "sm_" + row["capability"].replace(".", "")
    derived: Row = {}
    for suffix, first in (("", "first_toolkit"), ("a", "a_toolkit"), ("f", "f_toolkit")):
        having = [cuda for cuda in compilers.minors() if name + suffix in compilers.ask(cuda)[0]]
        if having and having[0] != oldest:
            derived[first] = having[0]
        if having and not suffix:
            derived["last_toolkit"] = "" if having[-1] == newest else having[-1]
        if not having and suffix:
            derived[first] = ""
    return derived


# -- codes -------------------------------------------------------------------------------------------------------------


def newest_of(distribution: str) -> Callable[[Row], str]:
    """The newest release, for all rows."""
    return lambda row: max(versions(distribution), key=numbers)


@cache
def cuda_names(url: str) -> tuple[dict[int, str], dict[int, str]]:
    """Names by number of CUresult and cudaError_t, from cuda.h and driver_types.h."""
    found = []
    for header, pattern in (
        ("cuda.h", r"(CUDA_SUCCESS|CUDA_ERROR_\w+)"),
        ("driver_types.h", r"(cudaSuccess|cudaError\w+)"),
    ):
        text = read(url, f"nvidia/cu13/include/{header}").decode()
        found.append(
            {int(number): name for name, number in re.findall(rf"^\s*{pattern}\s*=\s*(\d+)", text, re.MULTILINE)}
        )
    return found[0], found[1]


def cuda_code(row: Row, found: Release) -> Row:
    """Its names in the headers."""
    driver, runtime = cuda_names(found.url)
    names = driver.get(row["code"], ""), runtime.get(row["code"], "")
    if not any(names):
        raise NotThere(f"{found.name} {found.version}: no code {row['code']}")
    return {"name": names[0] or names[1], "runtime": names[1] if names[0] else ""}


def new_cuda_codes(rows: list[Row], problems: list[str]) -> list[Row]:
    """Codes of the headers that the table has not; their meaning is left to a person."""
    url = release("nvidia-cuda-runtime", newest_of("nvidia-cuda-runtime")({})).url
    driver, runtime = cuda_names(url)
    known = {row["code"] for row in rows}
    return [
        {"code": code, "name": driver.get(code) or runtime[code], "meaning": "", "runtime": runtime.get(code, "")}
        for code in sorted({*driver, *runtime} - known)
    ]


@cache
def nvml_names(url: str) -> dict[int, str]:
    """Names by number of nvmlReturn_t, from pynvml.py."""
    text = read(url, "pynvml.py").decode()
    return {
        int(number): name
        for name, number in re.findall(r"^(NVML_SUCCESS|NVML_ERROR_\w+)\s*= (\d+)", text, re.MULTILINE)
    }


def nvml_code(row: Row, found: Release) -> Row:
    """Its name in pynvml.py."""
    names = nvml_names(found.url)
    if row["code"] not in names:
        raise NotThere(f"{found.name} {found.version}: no code {row['code']}")
    return {"name": names[row["code"]]}


def new_nvml_codes(rows: list[Row], problems: list[str]) -> list[Row]:
    """Codes of pynvml.py that the table has not; their meaning is left to a person."""
    names = nvml_names(release("nvidia-ml-py", newest_of("nvidia-ml-py")({})).url)
    return [
        {"code": code, "name": names[code], "meaning": ""}
        for code in sorted(names.keys() - {row["code"] for row in rows})
    ]


JAX_PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin")

DERIVATIONS = {
    "torch": Derivation("torch", "build", of_pypi("torch"), torch, missing=new_builds(torch, "torch")),
    "tensorflow": Derivation(
        "tensorflow", "build", of_pypi("tensorflow"), tensorflow, missing=new_builds(tensorflow, "tensorflow")
    ),
    "jax": Derivation("jax", "build", lambda row: str(row["variant"]), jax, missing=new_builds(jax, *JAX_PLUGINS)),
    "onnxruntime-gpu": Derivation(
        "onnxruntime-gpu", "build", of_pypi("onnxruntime-gpu"), onnxruntime,
        missing=new_builds(onnxruntime, "onnxruntime-gpu"),
    ),
    "vllm": Derivation("vllm", "build", of_pypi("vllm"), vllm, missing=new_builds(vllm, "vllm")),
    "frameworks": Derivation(
        "frameworks",
        "build",
        lambda row: str(row.get("variant") or row["library"]) if row.get("pypi") and row.get("python") else "",
        others,
    ),
    "wheels": Derivation("wheels", "wheel", lambda row: str(row["wheel"]), wheels),
    "toolkits": Derivation(
        "toolkits", "toolkit", lambda row: compilers.distribution(row["cuda"]) if row.get("ptx") else "", toolkit,
        version=lambda row: compilers.newest(row["cuda"]),
    ),
    "capabilities": Derivation(
        "capabilities", "capability", lambda row: "nvidia-cuda-nvcc", gpu, version=newest_of("nvidia-cuda-nvcc")
    ),
    "cuda-codes": Derivation(
        "codes", "cuda", lambda row: "nvidia-cuda-runtime", cuda_code, version=newest_of("nvidia-cuda-runtime"),
        missing=new_cuda_codes,
    ),
    "nvml-codes": Derivation(
        "codes", "nvml", lambda row: "nvidia-ml-py", nvml_code, version=newest_of("nvidia-ml-py"), missing=new_nvml_codes
    ),
}  # fmt: skip
