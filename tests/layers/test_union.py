"""Layers over layers, by the words of https://github.com/opencontainers/image-spec/blob/main/layer.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gpucheck.images.opening import Image, open_image
from gpucheck.images.records import ImageError
from gpucheck.images.system import ImageSystem
from tests.layers.workshop import layer, layout, member


def opened(tmp_path: Path, around: Mapping[str, str], *layers: bytes) -> Image:
    return open_image(layout(tmp_path, *layers), cache=False, surroundings=around)


def paths(image: Image) -> dict[str, str]:
    system = image.system
    assert isinstance(system, ImageSystem)
    found: dict[str, str] = {}
    todo = ["/"]
    while todo:
        folder = todo.pop()
        for name in system.names(folder):
            path = f"{folder.rstrip('/')}/{name}"
            status = system.status(path, follow=False)
            found[path] = {"directory": "/", "link": f"-> {system.link(path) if status.kind == 'link' else ''}"}.get(
                status.kind, str(status.size)
            )
            if status.kind == "directory":
                todo.append(path)
    return found


BASE = layer(("a/", ""), ("a/one", "1"), ("a/two", "22"), ("b", "-> a"), ("c/d/e", "333"), ("f", "=> a/one"))


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ([], {"/a": "/", "/a/one": "1", "/a/two": "2", "/b": "-> a", "/c": "/", "/c/d": "/", "/c/d/e": "3", "/f": "1"}),
        ([("a/.wh.one", "")], {"/a/one": None}),
        ([(".wh.a", "")], {"/a": None, "/a/one": None, "/a/two": None}),
        ([("a/.wh..wh..opq", ""), ("a/new", "")], {"/a/one": None, "/a/two": None, "/a/new": "0"}),
        # Wherever it stands, a whiteout is for lower layers only.
        ([("a/new", ""), ("a/.wh..wh..opq", "")], {"/a/one": None, "/a/two": None, "/a/new": "0"}),
        ([("a/one", "new!"), ("a/.wh.one", "")], {"/a/one": "4"}),
        ([(".wh.a", ""), ("a/three", "3")], {"/a": "/", "/a/one": None, "/a/two": None, "/a/three": "1"}),
        ([("a", "file")], {"/a": "4", "/a/one": None, "/a/two": None}),
        ([("a/one/", "")], {"/a/one": "/"}),
        ([("a/one", "longer")], {"/a/one": "6", "/f": "1"}),
        ([("g", "=> a/two")], {"/g": "2"}),
        ([("c/.wh.nothing", "")], {}),
        ([(".wh..wh.plnk/x", ""), (".wh..wh.aufs", "")], {}),
        # Each layer is unpacked into a folder of its own: a link of a lower one is not followed but replaced.
        ([("b/new", "1")], {"/b": "/", "/b/new": "1"}),
        ([("link", "-> c"), ("link/below", "22")], {"/link": "-> c", "/c/below": "2"}),
        ([("./a/../x", "1")], {"/x": "1"}),
        ([("same", "1"), ("same", "22")], {"/same": "2"}),
        ([("a/.wh.one", ""), ("h", "=> f")], {"/a/one": None, "/h": "1"}),
    ],
)
def test_an_upper_layer(
    upper: list[tuple[str, str]], expected: dict[str, str | None], tmp_path: Path, around: Mapping[str, str]
) -> None:
    with opened(tmp_path / "base", around, BASE) as image:
        before = paths(image)
    with opened(tmp_path / "both", around, BASE, layer(*upper)) as image:
        after = paths(image)
    wanted = {path: value for path, value in {**before, **expected}.items() if value is not None}
    assert after == wanted


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([("../outside", "x")], "leads out of the image"),
        ([("a/../../outside", "x")], "leads out of the image"),
        ([("/../outside", "x")], "leads out of the image"),
        ([("x", "=> ../../etc/shadow")], "leads out of the image"),
        ([("x", "=> nowhere")], "is a hard link to 'nowhere', no file"),
        ([("x", "=> a")], "is a hard link to 'a', no file"),
        ([("a/.wh.", "")], "hides no file"),
        ([("a/.wh...", "")], "hides no file"),
        ([("l1", "-> l2"), ("l2", "-> l1"), ("l1/x", "")], "too many links"),
        ([("x" * 5000, "")], "a path of 5000 characters"),
    ],
)
def test_what_no_engine_unpacks_is_refused(
    bad: list[tuple[str, str]], said: str, tmp_path: Path, around: Mapping[str, str]
) -> None:
    with pytest.raises(ImageError, match=said):
        opened(tmp_path, around, BASE, layer(*bad))


def test_links_never_leave_the_image(tmp_path: Path, around: Mapping[str, str]) -> None:
    secret = tmp_path / "secret"
    secret.write_text("outside")
    links = layer(
        ("up", "-> ../../../../.." + str(secret)), ("absolute", f"-> {secret}"), ("etc/os-release", "ID=x\n"),
        ("loop", "-> loop"), ("good", "-> ../../etc/os-release"),
    )  # fmt: skip
    with opened(tmp_path, around, links) as image:
        assert image.system.resolve("/up") is None
        assert image.system.resolve("/absolute") is None
        assert image.system.resolve("/loop") is None
        assert image.system.read("/good") == b"ID=x\n"
        with pytest.raises(FileNotFoundError):
            image.system.read("/up")


def test_the_layer_of_a_file(tmp_path: Path, around: Mapping[str, str]) -> None:
    with opened(tmp_path, around, BASE, layer(("a/two", "new"), ("later", "=> a/one"))) as image:
        assert [image.layer_of(path) for path in ("/a/one", "/a/two", "/b/two", "/later", "/c")] == [0, 1, 1, 0, 0]
        with pytest.raises(FileNotFoundError):
            image.layer_of("/nothing")


def test_names_of_one_file_have_one_identity(tmp_path: Path, around: Mapping[str, str]) -> None:
    with opened(tmp_path, around, BASE) as image:
        one, other, third = (image.system.status(path).identity for path in ("/a/one", "/f", "/a/two"))
    assert one == other != third


def test_extended_attributes_have_names(tmp_path: Path, around: Mapping[str, str]) -> None:
    """File capabilities put the dynamic linker into secure mode; Docker writes them so."""
    info = member("bin/ping", pax_headers={"SCHILY.xattr.security.capability": "x", "SCHILY.xattr.user.a": "y"})
    with opened(tmp_path, around, layer(info, ("bin/other", ""))) as image:
        assert image.system.attributes("/bin/ping") == ("security.capability", "user.a")
        assert image.system.attributes("/bin/other") == image.system.attributes("/nothing") == ()
