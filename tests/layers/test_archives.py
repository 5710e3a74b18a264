"""Images in files: OCI layouts, archives of docker save of both kinds, folders."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gpucheck.images import compression
from gpucheck.images.opening import open_image, read_config
from gpucheck.images.records import ImageError
from tests.layers.workshop import (
    INDEX,
    PLAIN,
    ZSTD,
    Layout,
    archive,
    layer,
    layout,
    saved,
    sha256,
)
from tests.needs import missing

ONE = layer(("etc/os-release", "ID=one\n"), ("etc/ld.so.conf.d/x.conf", "/opt/x\n"))
TWO = layer(("etc/.wh.os-release", ""), ("usr/lib/os-release", "ID=two\n"))


def text(reference: str, around: Mapping[str, str], path: str = "/etc/os-release", **options: Any) -> str:
    with open_image(reference, cache=False, surroundings=around, **options) as image:
        return image.system.read(path).decode()


def test_a_layout_in_a_folder_and_in_a_tar(tmp_path: Path, around: Mapping[str, str]) -> None:
    made = Layout(tmp_path / "layout")
    made.image((ONE, TWO), Env=["PATH=/bin"])
    tar = made.tar(tmp_path / "layout.tar")
    for reference in (made.folder, f"oci:{made.folder}", tar, f"oci-archive:{tar}"):
        assert text(str(reference), around, "/usr/lib/os-release") == "ID=two\n"
        with open_image(str(reference), cache=False, surroundings=around) as image:
            assert image.system.resolve("/etc/os-release") is None
            assert image.digest == made.entries[0]["digest"]
            assert [each.diff_id for each in image.layers] == [sha256(ONE), sha256(TWO)]


def test_names_in_a_layout(tmp_path: Path, around: Mapping[str, str]) -> None:
    made = Layout(tmp_path / "layout")
    made.image((ONE,), name="first")
    made.image((layer(("etc/os-release", "ID=second\n")),), name="second")
    assert text(f"oci:{made.folder}:second", around) == "ID=second\n"
    with pytest.raises(ImageError, match=r"no image 'third'; there are: first, "):
        text(f"oci:{made.folder}:third", around)


def test_an_index_within_an_index_and_attestations(tmp_path: Path, around: Mapping[str, str]) -> None:
    """As BuildKit exports: index.json names an index, whose second entry is an attestation."""
    made = Layout(tmp_path / "layout")
    image = made.image((ONE,))
    arm = made.image((TWO,), architecture="arm64")
    attestation = made.descriptor(image["mediaType"], b"{}")
    attestation["platform"] = {"os": "unknown", "architecture": "unknown"}
    attestation["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [attestation, image, arm]}
    made.entries = []
    made.add(made.descriptor(INDEX, json.dumps(index).encode()))
    assert text(str(made.folder), around, platform="linux/amd64") == "ID=one\n"
    assert text(str(made.folder), around, "/usr/lib/os-release", platform="arm64") == "ID=two\n"
    with pytest.raises(ImageError, match="there are: linux/amd64, linux/arm64"):
        text(str(made.folder), around, platform="riscv64")


@pytest.mark.parametrize("how", ["plain", "zstd", "zstd-program", "members", "skippable"])
def test_compressions(how: str, tmp_path: Path, around: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "plain":
        stored = (PLAIN, ONE)
    elif how == "members":
        stored = (PLAIN + "+gzip", gzip.compress(ONE[:600]) + gzip.compress(ONE[600:]) + bytes(100))
    else:
        if shutil.which("zstd") is None:
            missing("layers with zstd", "apt-get install zstd")
        if how == "zstd-program":
            monkeypatch.setattr(compression, "_zstd_of_python", lambda source: None)
            monkeypatch.setattr(compression, "_zstd_of_package", lambda source: None)
        data = subprocess.run(["zstd", "-c"], input=ONE, check=True, capture_output=True).stdout
        # A skippable frame before and after, as zstd:chunked has it.
        frame = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
        stored = (ZSTD, frame + data + frame if how == "skippable" else data)
    assert text(layout(tmp_path, ONE, stored={0: stored}), around) == "ID=one\n"


def test_zstd_that_nothing_can_read(tmp_path: Path, around: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_zstd_of_python", lambda source: None)
    monkeypatch.setattr(compression, "_zstd_of_package", lambda source: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ImageError, match="install the program zstd, or: pip install zstandard"):
        text(layout(tmp_path, ONE, stored={0: (ZSTD, b"\x28\xb5\x2f\xfd" + bytes(100))}), around)


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        (PLAIN + "+gzip", gzip.compress(ONE)[:-20], "truncated gzip data"),
        (PLAIN + "+gzip", b"\x1f\x8b" + bytes(50), "broken gzip data"),
        (ZSTD, b"\x28\xb5\x2f\xfd" + b"\xff" * 50, "(broken|truncated) zstd data"),
        (PLAIN, ONE[:515], "truncated: ends within a file"),
        (PLAIN, b"", "its content is sha256:e3b0c44"),
        (PLAIN, b"BZh9" + bytes(100), "compressed with bzip2"),
        (PLAIN, b"\xfd7zXZ\0" + bytes(100), "compressed with xz"),
        (PLAIN, TWO, "its content is sha256:.* not sha256:"),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            b"",
            "rootfs.foreign.diff.tar.gzip' lies elsewhere",
        ),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", b"", "nondistributable.v1.tar' lies elsewhere"),
        ("application/x-squashfs", b"", "unknown media type 'application/x-squashfs'"),
    ],
)
def test_layers_that_are_not_as_they_should_be(
    kind: str, data: bytes, said: str, tmp_path: Path, around: Mapping[str, str]
) -> None:
    with pytest.raises(ImageError, match=said) as refused:
        text(layout(tmp_path, ONE, stored={0: (kind, data)}), around)
    assert "\n" not in str(refused.value)


def test_a_blob_that_is_not_what_its_name_says(tmp_path: Path, around: Mapping[str, str]) -> None:
    made = Layout(tmp_path / "layout")
    made.image((ONE,))
    for path in sorted((made.folder / "blobs/sha256").iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-9] + bytes((whole[-9] ^ 1,)) + whole[-8:])
        with pytest.raises(ImageError, match=r"damaged or was changed|(broken|truncated) gzip"):
            text(str(made.folder), around)
        path.write_bytes(whole)
    assert text(str(made.folder), around)


# -- docker save -------------------------------------------------------------------------------------------------------


def test_the_old_format(tmp_path: Path, around: Mapping[str, str]) -> None:
    path = archive(tmp_path / "old.tar", saved(ONE, TWO, ONE))
    for reference in (path, f"docker-archive:{path}", f"docker-archive:{path}:team/image:v1"):
        assert text(reference, around) == "ID=one\n"
    with pytest.raises(ImageError, match=r"no image 'other'; there are: team/image:v1; choose one: docker-archive:"):
        text(f"docker-archive:{path}:other", around)


def test_compressed_it_is_read_from_start_to_end(tmp_path: Path, around: Mapping[str, str]) -> None:
    path = tmp_path / "old.tar.gz"
    path.write_bytes(gzip.compress(Path(archive(tmp_path / "old.tar", saved(ONE, TWO, ONE, Env=["A=1"]))).read_bytes()))
    assert text(str(path), around) == "ID=one\n"
    assert dict(read_config(str(path), surroundings=around).config.env) == {"A": "1"}


def test_the_new_format(tmp_path: Path, around: Mapping[str, str]) -> None:
    """As Docker Engine 25 and newer save: an OCI layout with manifest.json beside it. With the containerd image store its
    layers are as they were pulled, compressed: https://docs.docker.com/engine/storage/containerd/"""
    for number, stored in enumerate(({0: (PLAIN, ONE), 1: (PLAIN, TWO)}, {})):
        made = Layout(tmp_path / f"layout{number}")
        entry = made.image((ONE, TWO), stored=stored)
        manifest = json.loads((made.folder / "blobs" / entry["digest"].replace(":", "/")).read_bytes())
        named = {
            "Config": f"blobs/{manifest['config']['digest'].replace(':', '/')}",
            "RepoTags": ["team/image:v1"],
            "Layers": [f"blobs/{each['digest'].replace(':', '/')}" for each in manifest["layers"]],
        }
        (made.folder / "manifest.json").write_text(json.dumps([named]))
        tar = made.tar(tmp_path / f"new{number}.tar")
        compressed = tmp_path / f"new{number}.tar.gz"
        compressed.write_bytes(gzip.compress(tar.read_bytes()))
        for reference in (tar, f"docker-archive:{tar}:team/image:v1", f"oci-archive:{tar}", compressed):
            assert text(str(reference), around, "/usr/lib/os-release") == "ID=two\n"


def test_two_images_in_an_archive(tmp_path: Path, around: Mapping[str, str]) -> None:
    first, second = saved(ONE), saved(TWO, tags=("b:1", "b:latest"), name="d")
    entries = [json.loads(each.pop("manifest.json"))[0] for each in (first, second)]
    path = archive(tmp_path / "two.tar", {**first, **second, "manifest.json": json.dumps(entries).encode()})
    with pytest.raises(ImageError, match=r"2 images; there are: b:1, b:latest, team/image:v1; choose one"):
        text(path, around)
    assert text(f"docker-archive:{path}:b", around, "/usr/lib/os-release") == "ID=two\n"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"x": b"x"}, "neither an archive of docker save nor an OCI layout"),
        ({"manifest.json": b"{}"}, "is no JSON array"),
        ({"manifest.json": b"[1]"}, "not as docker save writes it"),
        ({"manifest.json": b"[]"}, "no image"),
        ({"manifest.json": b'[{"Config": "c", "Layers": []}]'}, "has no file c"),
        ({"manifest.json": b'[{"Config": "c", "Layers": []}]', "c": b"{}"}, "names no layers"),
        (
            {"manifest.json": b'[{"Config": "c", "Layers": []}]', "c": b'{"rootfs": {"diff_ids": ["sha256:x"]}}'},
            "sha256",
        ),
        ({"manifest.json": b'[{"Config": "c", "Layers": []}]', "c": "d", "d": "c"}, "has no file c"),
        ({"manifest.json": b'[{"Config": "../../etc/passwd", "Layers": []}]'}, "has no file ../../etc/passwd"),
        ({"manifest.json": b"[" + b" " * (5 << 20) + b"]"}, "larger than 4 MB"),
        ({"index.json": b"{}"}, "the layout has no image"),
        ({"index.json": b'{"manifests": [{}]}'}, "expected a sha256 digest"),
    ],
)
def test_archives_that_are_none(
    files: Mapping[str, bytes | str], said: str, tmp_path: Path, around: Mapping[str, str]
) -> None:
    with pytest.raises(ImageError, match=re.escape(said)) as refused:
        text(archive(tmp_path / "bad.tar", files), around)
    assert "\n" not in str(refused.value)


def test_a_layout_does_not_lead_out_of_its_folder(tmp_path: Path, around: Mapping[str, str]) -> None:
    made = Layout(tmp_path / "layout")
    made.image((ONE,))
    (tmp_path / "outside.json").write_bytes((made.folder / "index.json").read_bytes())
    (made.folder / "index.json").unlink()
    (made.folder / "index.json").symlink_to("../outside.json")
    with pytest.raises(ImageError, match=r"has no file index\.json"):
        text(str(made.folder), around)


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_folder(tmp_path: Path, around: Mapping[str, str]) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/os-release").write_text("ID=folder\n")
    for reference in (tmp_path / "root", f"dir:{tmp_path / 'root'}"):
        with open_image(str(reference), env={"A": "1"}, surroundings=around) as image:
            assert image.system.read("/etc/os-release") == b"ID=folder\n"
            assert (image.digest, image.layers, dict(image.system.env)) == ("", (), {"A": "1"})
            assert image.layer_of("/etc/os-release") is None
    with pytest.raises(ImageError, match="has no config and no labels"):
        read_config(str(tmp_path / "root"), surroundings=around)


@pytest.mark.parametrize("scheme", ["oci", "oci-archive", "docker-archive", "dir"])
def test_no_such_path(scheme: str, around: Mapping[str, str]) -> None:
    with pytest.raises(ImageError, match=r"no file or folder /no/such|No such file or directory"):
        text(f"{scheme}:/no/such", around)


def test_the_environment_of_the_config_with_overrides(tmp_path: Path, around: Mapping[str, str]) -> None:
    reference = layout(tmp_path, ONE, Env=["PATH=/bin", "A=1", "EMPTY="])
    with open_image(reference, env={"A": "2", "B": "3"}, cache=False, surroundings=around) as image:
        assert dict(image.system.env) == {"PATH": "/bin", "A": "2", "EMPTY": "", "B": "3"}
        assert image.config.env["A"] == "1"
