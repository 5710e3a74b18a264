"""A root is never left, whatever its links say."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gpucheck.system import Local, NotLive, Rootfs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").write_text("secret")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "usr/lib").mkdir(parents=True)
    (root / "etc/hostname").write_text("inside\n")
    (root / "usr/lib/libx.so.1.2").write_bytes(b"0123456789")
    return root


@pytest.mark.parametrize(
    ("link", "target", "resolved"),
    [
        ("absolute", "/etc/hostname", "/etc/hostname"),
        ("relative", "etc/hostname", "/etc/hostname"),
        ("upwards", "../../../../etc/hostname", "/etc/hostname"),
        ("outward", "../outside", None),
        ("dangling", "/nowhere", None),
        ("itself", "itself", None),
        ("through-a-file", "/etc/hostname/x", None),
    ],
)
def test_links_are_followed_as_chroot_does(root: Path, link: str, target: str, resolved: str | None) -> None:
    (root / link).symlink_to(target)
    assert Rootfs(str(root)).resolve(f"/{link}") == resolved


def test_a_directory_link_in_the_middle(root: Path) -> None:
    (root / "lib").symlink_to("/usr/lib")
    (root / "usr/lib/libx.so").symlink_to("libx.so.1.2")
    system = Rootfs(str(root))
    assert system.resolve("/lib/libx.so") == "/usr/lib/libx.so.1.2"
    assert system.read("/lib/libx.so", limit=3, offset=4) == b"456"
    assert system.link("/lib/libx.so") == "libx.so.1.2"
    assert system.glob("/lib/libx.so*") == ("/lib/libx.so", "/lib/libx.so.1.2")


def test_a_loop_of_two_and_a_long_chain_end(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    for number in range(45):
        (root / f"c{number}").symlink_to(f"c{number + 1}")
    system = Rootfs(str(root))
    for path in ("/a", "/c0"):
        with pytest.raises(OSError) as loop:
            system.read(path)
        assert loop.value.errno == errno.ELOOP


def test_a_pipe_is_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        Rootfs(str(root)).read("/pipe")


def test_errors_name_the_path_inside(root: Path) -> None:
    system = Rootfs(str(root))
    with pytest.raises(IsADirectoryError) as error:
        system.read("/etc")
    assert error.value.filename == "/etc"
    with pytest.raises(OSError):
        system.read("/etc/host\0name")


def test_glob_hides_hidden_names_and_wants_literal_ends_to_exist(root: Path) -> None:
    (root / "etc/.hidden").write_text("")
    (root / "usr/lib/sub").mkdir()
    (root / "usr/lib/sub/file").write_text("")
    system = Rootfs(str(root))
    assert system.glob("/etc/*") == ("/etc/hostname",)
    assert system.glob("/etc/.h*") == ("/etc/.hidden",)
    assert system.glob("/usr/lib/*/file") == ("/usr/lib/sub/file",)
    assert system.glob("/usr/lib/*/missing") == ()
    assert system.glob("/none/*") == ()


def test_nothing_is_run_on_files(root: Path) -> None:
    with pytest.raises(NotLive, match="ls was not run"):
        Rootfs(str(root)).start("ls", timeout=1)


def test_a_root_that_is_not_there_or_no_folder(root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Rootfs(str(root / "none"))
    with pytest.raises(NotADirectoryError):
        Rootfs(str(root / "etc/hostname"))


def test_a_child_that_does_not_end_is_killed_with_what_it_started() -> None:
    child = Local().start("sh", "-c", "echo before; sleep 600 & sleep 600", timeout=0.3)
    ran = child.finish()
    assert (ran.status, ran.stdout) == (None, "before\n")


def test_a_child_gets_its_input_and_reports_its_end() -> None:
    child = Local().start("sh", "-c", "cat; echo problem >&2; exit 7", timeout=30)
    child.send("hello\n")
    ran = child.finish()
    assert (ran.status, ran.stdout, ran.stderr) == (7, "hello\n", "problem\n")


def test_a_child_that_ended_takes_no_input() -> None:
    child = Local().start("true", timeout=30)
    for _ in range(100):
        child.send("x" * 10_000)
    assert child.finish().status == 0
