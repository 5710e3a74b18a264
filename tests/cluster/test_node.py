"""A node as the agent's container sees it: parts of its files, and the kernel that they share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpucheck.cluster.node import Node
from gpucheck.probes.text import sees_kernel
from gpucheck.system import NotLive


def write(root: Path, path: str, text: str) -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def test_files_are_the_nodes(tmp_path: Path) -> None:
    write(tmp_path, "/etc/os-release", "ID=cos\n")
    node = Node(str(tmp_path))
    assert node.read("/etc/os-release") == b"ID=cos\n"
    assert not node.exists("/etc/passwd")
    assert node.outside("/etc/os-release") == f"{tmp_path}/etc/os-release"
    assert node.outside("/etc/passwd") is None


def test_lib64_is_in_usr_which_alone_is_mounted(tmp_path: Path) -> None:
    write(tmp_path, "/usr/lib64/libcuda.so.535.1", "")
    (tmp_path / "usr/lib64/libcuda.so.1").symlink_to("/lib64/libcuda.so.535.1")
    node = Node(str(tmp_path))
    assert node.glob("/lib64/libcuda.so.*") == ("/lib64/libcuda.so.1", "/lib64/libcuda.so.535.1")
    assert node.outside("/usr/lib64/libcuda.so.1") == f"{tmp_path}/usr/lib64/libcuda.so.535.1"
    assert not node.exists("/lib/modules")


def test_lib64_of_its_own_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "/lib64/own", "")
    write(tmp_path, "/usr/lib64/other", "")
    assert Node(str(tmp_path)).names("/lib64") == ("own",)


def test_the_kernel_is_the_same_one(tmp_path: Path) -> None:
    node = Node(str(tmp_path))
    for path in ("/proc/version", "/proc/devices", "/proc/sys/kernel/osrelease"):
        assert node.read(path) == Path(path).read_bytes()
    assert node.names("/sys/bus") == tuple(sorted(os.listdir("/sys/bus")))
    assert sees_kernel(node)


def test_a_pci_device_is_followed_through_its_link(tmp_path: Path) -> None:
    """/sys/bus/pci/devices holds links to /sys/devices; any bus with a device shows that."""
    node = Node(str(tmp_path))
    links = [path for path in node.glob("/sys/bus/*/devices/*") if os.path.islink(path)]
    assert links
    assert node.resolve(links[0]) == os.path.realpath(links[0])


@pytest.mark.parametrize("path", ["/proc/1/cgroup", "/proc/self/environ", "/proc/mounts", "/proc/versions", "/system"])
def test_the_agents_own_processes_are_not_the_nodes(tmp_path: Path, path: str) -> None:
    assert Node(str(tmp_path)).resolve(path) is None


def test_a_node_whose_proc_is_mounted_is_taken_at_its_word(tmp_path: Path) -> None:
    write(tmp_path, "/proc/version", "Linux version 9.9\n")
    node = Node(str(tmp_path))
    assert node.read("/proc/version") == b"Linux version 9.9\n"
    assert not node.exists("/proc/devices")
    assert node.exists("/sys/bus")


def test_device_nodes_of_the_operators_driver_container_are_the_nodes(tmp_path: Path) -> None:
    write(tmp_path, "/dev/null", "")
    write(tmp_path, "/run/nvidia/driver/dev/nvidia0", "")
    write(tmp_path, "/run/nvidia/driver/dev/zero", "")
    node = Node(str(tmp_path))
    assert node.names("/dev") == ("null", "nvidia0")
    assert node.glob("/dev/nvidia*") == ("/dev/nvidia0",)
    assert not node.exists("/dev/nvidiactl")


def test_device_nodes_of_the_host_come_before_the_driver_containers(tmp_path: Path) -> None:
    write(tmp_path, "/dev/nvidia0", "")
    write(tmp_path, "/run/nvidia/driver/dev/nvidia1", "")
    assert Node(str(tmp_path)).names("/dev") == ("nvidia0",)


def test_nothing_is_executed(tmp_path: Path) -> None:
    with pytest.raises(NotLive):
        Node(str(tmp_path)).start("true", timeout=1)
