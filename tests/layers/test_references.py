"""What a name means: https://github.com/distribution/reference and containers-transports(5)."""

from __future__ import annotations

import re

import pytest

from gpucheck.images.records import ImageError
from gpucheck.images.reference import parse, parse_name

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        # The first rows are those of distribution/reference's normalize_test.go.
        ("ubuntu", "docker.io/library/ubuntu:latest"),
        ("ubuntu:22.04", "docker.io/library/ubuntu:22.04"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu:latest"),
        ("index.docker.io/ubuntu", "docker.io/library/ubuntu:latest"),
        ("user/image", "docker.io/user/image:latest"),
        ("localhost/image", "localhost/image:latest"),
        ("localhost:5000/image:tag", "localhost:5000/image:tag"),
        ("LOCALDOMAIN/image", "LOCALDOMAIN/image:latest"),
        ("[::1]:5000/image", "[::1]:5000/image:latest"),
        ("127.0.0.1:5000/a/b/c:v1", "127.0.0.1:5000/a/b/c:v1"),
        ("nvcr.io/nvidia/pytorch:25.01-py3", "nvcr.io/nvidia/pytorch:25.01-py3"),
        ("a__b/c--d_e.f", "docker.io/a__b/c--d_e.f:latest"),
        (f"image@sha256:{HEX}", f"docker.io/library/image@sha256:{HEX}"),
        (f"ghcr.io/x/y:tag@sha256:{HEX}", f"ghcr.io/x/y:tag@sha256:{HEX}"),
    ],
)
def test_names(text: str, meant: str) -> None:
    assert str(parse_name(text)) == meant


@pytest.mark.parametrize(
    "text",
    [
        "Ubuntu",
        "user/Image",
        "image:",
        "image:-tag",
        "image:a b",
        "/image",
        "image/",
        "a//b",
        "a/../b",
        "image@sha256:12",
        f"image@md5:{HEX}",
        f"image@sha256:{HEX.upper()}",
        "-image",
        "imäge",
        "host/" + "a" * 256,
        "a\nb",
        "localhost:x/image",
    ],
)
def test_what_is_no_name_is_refused_with_one_line(text: str) -> None:
    with pytest.raises(ImageError) as refused:
        parse_name(text)
    assert "\n" not in str(refused.value).replace(text, "")


@pytest.mark.parametrize(
    ("text", "scheme", "rest"),
    [
        ("docker:debian:12", "docker", "debian:12"),
        ("docker://debian:12", "registry", "debian:12"),
        ("registry:host:5000/a", "registry", "host:5000/a"),
        ("registry://host:5000/a", "registry", "host:5000/a"),
        ("oci:/x/y:tag", "oci", "/x/y:tag"),
        ("oci-archive:x.tar", "oci-archive", "x.tar"),
        ("docker-archive:x.tar:name:tag", "docker-archive", "x.tar:name:tag"),
        ("dir:/srv/root", "dir", "/srv/root"),
        ("debian:12", "", "debian:12"),
        ("host:5000/a:b", "", "host:5000/a:b"),
        ("./x.tar", "", "./x.tar"),
    ],
)
def test_schemes(text: str, scheme: str, rest: str) -> None:
    found = parse(text)
    assert (found.scheme, found.rest) == (scheme, rest)


@pytest.mark.parametrize("text", ["", "oci:", "docker://", "registry://"])
def test_no_name_at_all(text: str) -> None:
    with pytest.raises(ImageError, match=re.escape("names no image")):
        parse(text)
