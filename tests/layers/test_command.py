"""``--image`` of the commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import gpucheck
from tests.layers.workshop import Layout, layer, layout


def test_doctor_libs_and_snapshot_look_into_an_image(tmp_path: Path) -> None:
    reference = layout(tmp_path, layer(("etc/os-release", "ID=x\nVERSION_ID=1\n")), Env=["LD_LIBRARY_PATH=/opt/x"])
    around = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = gpucheck("snapshot", "--image", reference, "--env", "CUDA_HOME=/usr/local/cuda", **around)
    seen = json.loads(done.stdout)
    assert seen["host"]["distribution"]["value"]["id"] == "x"
    assert ["LD_LIBRARY_PATH", "/opt/x"] in seen["environment"]
    assert ["CUDA_HOME", "/usr/local/cuda"] in seen["environment"]
    # Standard error is no terminal here: no progress.
    assert done.stderr == ""
    assert gpucheck("doctor", "--image", reference, **around).returncode in (0, 1, 3)
    assert "no dynamic linker" in gpucheck("libs", "--image", reference, **around).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--image", "x", "--root", "/"), "--image and --root exclude each other"),
        (("--image", ""), "'' names no image; name one such as debian:trixie-slim, or a file or folder"),
        (("--image", "oci:/no/such"), "oci:/no/such: there is no file or folder /no/such"),
        (("--image", "/etc/passwd"), "/etc/passwd: neither an archive of docker save nor an OCI layout"),
        (("--platform", "linux/arm64"), "--platform goes with --image"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = gpucheck("snapshot", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"gpucheck: {message}") and done.stderr.count("\n") == 1


def test_a_platform_that_is_not_there(tmp_path: Path) -> None:
    made = Layout(tmp_path / "layout")
    made.image((layer(("x", "")),))
    done = gpucheck("snapshot", "--image", str(made.folder), "--platform", "linux/ppc64le")
    assert done.returncode == 2
    assert done.stderr.endswith("there is no image for linux/ppc64le; it is for linux/amd64\n")
