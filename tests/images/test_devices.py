"""Device nodes that cannot be opened, produced for real: missing, no driver, no permission, refused by the cgroup."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci.engine import Engine
from tests.needs import missing


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node with the driver's number on the host, where no module stands behind it: opening it gives ENXIO."""
    if os.geteuid() != 0 or shutil.which("mknod") is None:
        missing("device nodes without a driver", "run the tests as root")
    if Path("/proc/driver/nvidia/version").exists():
        missing("device nodes without a driver", "run them on a machine without the NVIDIA driver")
    path = tmp_path_factory.mktemp("dev") / "nvidiactl"
    os.mknod(path, 0o600 | 0o020000, os.makedev(195, 255))
    yield str(path)
    path.unlink()


def doctor(engine: Engine, image: str, *options: str, before: str = "true") -> dict[str, Any]:
    done = engine.run(
        "run",
        "--rm",
        "--network=none",
        *options,
        "--entrypoint",
        "sh",
        image,
        "-c",
        f"{before}; gpucheck doctor --format json",
    )
    assert done.returncode == 1, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def node(report: dict[str, Any], path: str = "/dev/nvidiactl") -> dict[str, Any]:
    (found,) = [node for node in report["snapshot"]["nodes"]["value"] if node["path"] == path]
    return dict(found)


def test_a_plain_container_has_no_node(engine: Engine, images: dict[str, str]) -> None:
    report = doctor(engine, images["cpu"])
    assert node(report)["error"] == "ENOENT"
    assert report["snapshot"]["container"]["value"]["kind"] == "docker"
    assert report["root_causes"] == ["no-gpu"]


def test_a_node_made_inside_is_refused_by_the_cgroup(engine: Engine, images: dict[str, str]) -> None:
    report = doctor(engine, images["cpu"], "--user=0", before="mknod -m 666 /dev/nvidiactl c 195 255")
    assert node(report) == {**node(report), "error": "EPERM", "mode": 0o666, "number": [195, 255]}
    assert "device-refused-by-cgroup" in [finding["rule"] for finding in report["findings"]]


def test_a_node_that_was_passed_has_no_driver_behind_it(engine: Engine, images: dict[str, str], control: str) -> None:
    report = doctor(engine, images["cpu"], "--user=0", f"--device={control}:/dev/nvidiactl")
    assert node(report)["error"] == "ENXIO"
    assert "device-without-driver" in [finding["rule"] for finding in report["findings"]]


def test_a_node_that_was_passed_belongs_to_another_user(engine: Engine, images: dict[str, str], control: str) -> None:
    report = doctor(engine, images["cpu"], f"--device={control}:/dev/nvidiactl")
    assert (node(report)["error"], node(report)["mode"]) == ("EACCES", 0o600)
    finding = next(finding for finding in report["findings"] if finding["rule"] == "device-permission-denied")
    assert finding["cause"] == "It belongs to group 0 with mode 0600, and this user is not in that group."
