"""What the static view says of an image equals what the same image shows when it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ci.engine import Engine
from gpucheck.codec import encode
from gpucheck.images.opening import open_image
from gpucheck.probes import observe
from tests.contents import shelf
from tests.contents.workshop import ENVIRONMENT, Shop

#: What only a running container can know, and why: a kernel and its devices are below it, calls were made, a user runs it, mounts are there.
RUNNING = {
    "pci": "the bus of the machine",
    "kernel": "the machine's",
    "nodes": "made or mounted at the start",
    "nvml": "a call",
    "cuda": "a call",
    "container": "the marks that an engine leaves",
    "shared_memory": "a mount",
    "services": "processes",
    "mps": "a daemon's pipe directory",
    "driver_mounts": "mounts",
    "address_space": "a limit of the process",
    "locked_memory": "a limit of the process",
    "processor": "the machine's",
    "network": "the machine's interfaces",
    "hidden": "what the machine's udev and Thunderbolt say",
    "code_folders": "mounts",
}
#: Of the host.
RUNNING_HOST = {
    "live": "the question itself",
    "kernel": "the machine's",
    "wsl": "from the kernel's name",
    "uid": "who runs it",
    "groups": "who runs it",
    "secure_boot": "the machine's firmware",
}


def shown(report: dict[str, Any]) -> dict[str, Any]:
    """The fields that both can know."""
    found = {name: value for name, value in report.items() if name not in RUNNING}
    found["host"] = {name: value for name, value in report["host"].items() if name not in RUNNING_HOST}
    # A runtime's own version, not what it answered.
    found["runtimes"] = [{"library": each["library"], "cuda": each["cuda"]} for each in report["runtimes"]]
    return found


def running(engine: Engine, pyz: Path, image: str, *options: str) -> dict[str, Any]:
    """The snapshot that gpucheck takes in a container."""
    done = engine.run(
        "run", "--rm", "--network=none", "--volume", f"{pyz}:/gpucheck.pyz:ro", *options, "--entrypoint=python3", image,
        "/gpucheck.pyz", "doctor", "--format=json",
    )  # fmt: skip
    assert done.returncode in (0, 1, 3), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["snapshot"]
    return found


@pytest.mark.parametrize("name", shelf.RUNNABLE)
def test_an_image_shows_when_it_runs_what_its_files_said(name: str, engine: Engine, shop: Shop, pyz: Path) -> None:
    image = shelf.find(shop, name)
    with open_image(f"docker:{image}") as opened:
        static = json.loads(json.dumps(encode(observe(opened.system))))
    assert shown(static) == shown(running(engine, pyz, image))
    assert static["frameworks"] or static["libraries"] or static["libcuda_copies"], "there is something to compare"


def test_so_does_torch_whose_packages_are_mounted(engine: Engine, shop: Shop, pyz: Path) -> None:
    root = shop.folder("torch")
    with open_image(f"dir:{root}", env=ENVIRONMENT) as opened:
        static = json.loads(json.dumps(encode(observe(opened.system))))
    variables = [f"--env={name}={value}" for name, value in ENVIRONMENT.items()]
    seen = running(engine, pyz, shop.interpreter(), f"--volume={root}/opt/venv:/opt/venv:ro", *variables)
    assert shown(static) == shown(seen)
    assert [framework["name"] for framework in static["frameworks"]] == ["torch"]
