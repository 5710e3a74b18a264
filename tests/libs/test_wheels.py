"""Real wheels: what their import loads was predicted, and the fault of an older nvJitLink is predicted word for word."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest

from ci.agreement import CASES, compare
from tests.cache import cache
from tests.elf.workshop import Workshop
from tests.libs.test_command import SCHEMA, libs
from tests.needs import missing


def wheel(name: str, library: str) -> Path:
    """A library in an environment that ci/setup/wheels.sh made."""
    place = cache() / "wheels" / name
    if not (place / "complete").exists():
        missing(f"the real wheels of {name}", f"run: ci/setup/wheels.sh {name}")
    (found,) = place.glob(f"lib/python3*/site-packages/{library}")
    return found


@pytest.mark.parametrize("name", CASES)
def test_what_an_import_loads_was_predicted(name: str) -> None:
    """Every DT_NEEDED entry; every file of the package and every GPU library; and nothing else in their place."""
    try:
        found = compare(CASES[name])
    except FileNotFoundError as error:
        missing(f"what {name} really loads", f"run: ci/setup/{error}")
    assert found.wrong == ()
    assert found.needed[0] == found.needed[1] > 0
    assert found.mapped[0] == found.mapped[1] > 0
    assert found.gpu[0] == found.gpu[1] > 0


def real_error(python: Path, library: Path, env: dict[str, str]) -> str:
    """What the dynamic linker says when ctypes opens a library; '' when it does not complain."""
    done = subprocess.run(
        [python, "-c", f"import ctypes\ntry: ctypes.CDLL({str(library)!r})\nexcept OSError as error: print(error)"],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_an_older_nvjitlink_on_ld_library_path_lacks_the_symbol_that_cusparse_needs(workshop: Workshop) -> None:
    """pytorch#111469: torch's libraries have RPATH, libcusparse has RUNPATH, so that LD_LIBRARY_PATH comes first for it."""
    cusparse = wheel("cupy", "nvidia/cusparse/lib/libcusparse.so.12")
    toolkit = wheel("old-nvjitlink", "nvidia/nvjitlink/lib")
    python = cache() / "wheels/cupy/bin/python"
    parent = workshop.lib(
        "torch/lib/libtorch_cuda.so", "libcusparse.so.12", rpath=f"{cusparse.parent}:{toolkit.parent}"
    )

    for target in (cusparse, parent):
        assert real_error(python, target, {"LD_LIBRARY_PATH": ""}) == ""
        assert "undefined symbol" not in libs(target).stdout

        error = real_error(python, target, {"LD_LIBRARY_PATH": str(toolkit)})
        assert "libcusparse.so.12: undefined symbol: __nvJitLink" in error
        done = libs(target, "--format", "json", LD_LIBRARY_PATH=str(toolkit))
        assert done.returncode == 1
        found = json.loads(done.stdout)
        assert found["lacks"][0]["message"] == error
        assert found["lacks"][0]["path"] == str(toolkit / "libnvJitLink.so.12")
        assert {lack["soname"] for lack in found["lacks"]} == {"libnvJitLink.so.12"}
        assert {
            "soname": "libnvJitLink.so.12",
            "path": f"{cusparse.parent}/../../nvjitlink/lib/libnvJitLink.so.12",
            "how": "RUNPATH",
            "by": str(toolkit / "libnvJitLink.so.12"),
        } in found["shadowed"]

        text = libs(target, LD_LIBRARY_PATH=str(toolkit)).stdout
        assert f"\n{error}\n  and " in text
        assert (
            f"  libnvJitLink.so.12 is {toolkit}/libnvJitLink.so.12 [LD_LIBRARY_PATH], which does not define it\n"
            in text
        )


def test_no_symbol_is_said_to_be_missing_in_what_works() -> None:
    """``--symbols`` looks at every one of them, those without a version too."""
    wheel("cupy", "cupy")
    done = libs("cupy", "--python", cache() / "wheels/cupy", "--symbols", "--format", "json")
    found = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    assert found["lacks"] == []
    assert found["unread"] == []
    # Where there is no driver, it is all that is missing.
    assert set(found["missing"]) <= {"libcuda.so.1"}


def test_the_cuda_provider_of_onnxruntime_does_not_find_the_wheels_beside_it() -> None:
    """It has no RPATH: onnxruntime.preload_dlls() or ``import torch`` has to come before; the error is the real one's."""
    provider = wheel("onnxruntime-gpu", "onnxruntime/capi/libonnxruntime_providers_cuda.so")
    python = cache() / "wheels/onnxruntime-gpu/bin/python"
    first = real_error(python, provider, {"LD_LIBRARY_PATH": ""}).partition(":")[0]
    done = libs("onnxruntime", "--python", cache() / "wheels/onnxruntime-gpu")
    assert done.returncode == 1
    assert f"onnxruntime/capi/{provider.name} [by its path]: cannot be loaded without {first}\n" in done.stdout
