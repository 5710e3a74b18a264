"""Images of a real Docker Engine, and what a container of the same image shows."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from gpucheck.images import engine
from gpucheck.images.opening import open_image, read_config
from gpucheck.images.records import ImageError
from gpucheck.images.system import ImageSystem
from tests.disposable import disposable
from tests.needs import missing

#: capability(7): version 2, and permitted CAP_KILL, CAP_SETPCAP, ... whose bits make a line's end and zeros among the bytes.
CAPABILITY = "0100000200" + "0a" + "00" * 14
#: Whiteouts, an opaque folder, hard links, owners, modes, a file over a folder and a folder over a file, a file with
#: capabilities (setxattr is system call 188 on x86_64; Debian has perl and no setcap).
STEPS = """
FROM {base}
RUN mkdir -p /t/folder /t/opaque/deep /t/becomes-file /t/links && echo 1 >/t/folder/one && echo 2 >/t/folder/two \\
 && echo 3 >/t/opaque/old && echo 4 >/t/opaque/deep/old && echo 5 >/t/becomes-folder && echo 6 >/t/becomes-file/x \\
 && echo 7 >/t/links/a && ln /t/links/a /t/links/b && ln -s ../folder /t/links/to-folder && ln -s /nowhere /t/links/dangling
RUN rm /t/folder/one && rm -r /t/opaque && mkdir /t/opaque && echo new >/t/opaque/new && rm -r /t/becomes-file \\
 && echo file >/t/becomes-file && rm /t/becomes-folder && mkdir /t/becomes-folder && echo x >/t/becomes-folder/x
RUN chmod 4711 /t/folder/two && chown 1234:5678 /t/folder && rm /t/links/a && echo longer >>/t/links/b && mkfifo /t/fifo \\
 && printf x >"/t/with space" && printf y >"$(printf '/t/\\377')" && touch /t/$(printf 'long%.0s' $(seq 60))
RUN cp /bin/true /t/capable && perl -e '($file, $name, $value) = ("/t/capable", "security.capability", pack("H*", "{capability}")); syscall(188, $file, $name, $value, 20, 0) == 0 or die $!'
ENV A=1 B="two words"
LABEL key=value
USER 1000
"""


@pytest.fixture(scope="module")
def built() -> str:
    base = "debian:trixie-slim"
    if subprocess.run(["docker", "image", "inspect", base], capture_output=True, check=False).returncode:
        missing("images of an engine", "run ci/setup/docker-engine.sh and ci/setup/debian-image.sh")
    name = disposable("layers")
    made = subprocess.run(
        ["docker", "build", "--quiet", "-t", name, "-"],
        input=STEPS.format(base=base, capability=CAPABILITY).encode(),
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr.decode(errors="replace")
    return name


#: docker export shows these as the engine makes them for each container.
MADE = ("dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab", ".dockerenv")


def exported(name: str) -> dict[str, tuple[object, ...]]:
    """The whole file system of a container: (kind, mode, uid, gid, size, target)."""
    container = subprocess.run(
        ["docker", "create", name, "x"], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        data = subprocess.run(["docker", "export", container], capture_output=True, check=True).stdout
    finally:
        subprocess.run(["docker", "rm", container], capture_output=True, check=True)
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            path = info.name.rstrip("/")
            if info.islnk():
                found[path] = found[info.linkname]
                continue
            kind = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link", tarfile.FIFOTYPE: "fifo"}.get(
                info.type, "file"
            )
            size = len(os.fsencode(info.linkname)) if kind == "link" else info.size
            found[path] = (kind, stat.S_IMODE(info.mode), info.uid, info.gid, size, info.linkname)
    return {
        path: row for path, row in found.items() if path and path.partition("/")[0] not in MADE and path not in MADE
    }


def seen(system: ImageSystem) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    todo = [""]
    while todo:
        folder = todo.pop()
        for name in system.names(folder or "/"):
            path = f"{folder}/{name}"
            status = system.status(path, follow=False)
            target = system.link(path) if status.kind == "link" else ""
            size = 0 if status.kind == "directory" else status.size
            found[path[1:]] = (status.kind, status.mode, status.uid, status.gid, size, target)
            if status.kind == "directory":
                todo.append(path)
    return {path: row for path, row in found.items() if path.partition("/")[0] not in MADE and path not in MADE}


def test_the_files_are_those_of_a_container(built: str, around: Mapping[str, str]) -> None:
    with open_image(f"docker:{built}", cache=False, surroundings=around) as image:
        assert isinstance(image.system, ImageSystem)
        ours, theirs = seen(image.system), exported(built)
        assert len(theirs) > 5000
        assert {path: (ours.get(path), row) for path, row in theirs.items() if ours.get(path) != row} == {}
        assert ours.keys() - theirs.keys() == set()
        assert (dict(image.config.labels), image.config.user) == ({"key": "value"}, "1000")
        assert dict(image.system.env)["B"] == "two words"
        assert len(image.layers) == 5
        assert "mkdir -p /t/folder" in image.layers[1].created_by
        assert image.layer_of("/t/opaque/new") == 2


def test_saved_it_is_the_same(built: str, around: Mapping[str, str], tmp_path: Path) -> None:
    path = tmp_path / "saved.tar"
    subprocess.run(["docker", "save", "-o", str(path), built], check=True)
    # Its value is not text, and stands in the header as it is (tar.Header.PAXRecords of Go).
    record = b"SCHILY.xattr.security.capability=" + bytes.fromhex(CAPABILITY) + b"\n"
    assert record in path.read_bytes()
    with (
        open_image(f"docker:{built}", surroundings=around) as engines,
        open_image(str(path), cache=False, surroundings=around) as saved,
        # What the engine's layers left in the cache.
        open_image(f"docker-archive:{path}:{built}", surroundings=around) as cached,
    ):
        for each in (saved, cached):
            assert isinstance(each.system, ImageSystem) and isinstance(engines.system, ImageSystem)
            assert seen(each.system) == seen(engines.system)
            assert each.config == engines.config
            assert [layer.diff_id for layer in each.layers] == [layer.diff_id for layer in engines.layers]


def test_without_a_scheme_the_engine_comes_before_the_registry(built: str, around: Mapping[str, str]) -> None:
    assert read_config(built, surroundings=around).config.user == "1000"


def test_another_platform_is_not_there(built: str, around: Mapping[str, str]) -> None:
    with pytest.raises(ImageError, match=r"no image for linux/arm64; it is for linux/amd64"):
        read_config(f"docker:{built}", platform="arm64", surroundings=around)


def test_no_such_image(built: str, around: Mapping[str, str]) -> None:
    with pytest.raises(ImageError, match=r"the engine has no image no/such:1; see: docker images, or pull it"):
        read_config("docker:no/such:1", surroundings=around)


def test_no_engine(around: Mapping[str, str], tmp_path: Path) -> None:
    nowhere = {**around, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    with pytest.raises(ImageError, match=r"no Docker Engine answers at unix://.*none.sock .*; start it, or name"):
        read_config("docker:debian", surroundings=nowhere)
    with pytest.raises(ImageError, match=r"DOCKER_HOST=ssh://x: only unix:// and tcp://"):
        read_config("docker:debian", surroundings={**around, "DOCKER_HOST": "ssh://x"})


def test_no_permission_on_the_socket(around: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """connect(2) gives EACCES to who may not write to the socket; root, as which tests run, always may."""

    def refuse(self: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(engine._Local, "connect", refuse)
    with pytest.raises(
        ImageError, match=r"no permission to ask the engine at unix:///var/run/docker.sock; join the group"
    ):
        read_config("docker:debian", surroundings=around)
