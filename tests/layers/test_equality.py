"""What is seen in layers equals what is seen in the same files unpacked: real wheels on a real Debian root.

This is also the test of what is kept of a layer (``gpucheck/images/keeping.py``, ``capture.py``): a read of something else would
be an error in one of them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gpucheck.codec import encode
from gpucheck.images.cache import Cache
from gpucheck.images.indexing import index_layer
from gpucheck.images.system import ImageSystem
from gpucheck.images.union import Union
from gpucheck.libs.command import run
from gpucheck.probes import observe
from gpucheck.system import Rootfs
from tests.cache import cache
from tests.needs import missing

ENV = {"PATH": "/opt/venv/bin:/usr/bin:/bin"}


def environment(name: str) -> Path:
    place = cache() / ("torch" if name == "torch" else f"wheels/{name}")
    if not (place / "complete").exists():
        missing(f"{name} in layers", f"run: ci/setup/{'torch.sh' if name == 'torch' else f'wheels.sh {name}'}")
    return place


def debian() -> Path:
    place = cache() / "debian-torch"
    if not (place / "complete").exists():
        missing("Debian's torch in layers", "run: ci/setup/debian-torch.sh")
    return place


def in_layers(root: Path, env: Mapping[str, str]) -> ImageSystem:
    """The root as one layer, which nothing holds: tar writes it into the reader."""
    child = subprocess.Popen(["tar", "-C", str(root), "--numeric-owner", "-c", "."], stdout=subprocess.PIPE)
    assert child.stdout

    def pieces() -> Iterator[bytes]:
        assert child.stdout
        while piece := child.stdout.read(1 << 20):
            yield piece

    _, index = Cache(None).make(lambda file: index_layer(pieces(), file))
    child.stdout.close()
    # 1: a file changed, which is also said of a new hard link; another test may make one of Debian's files at this moment.
    assert child.wait() in (0, 1)
    union = Union()
    union.apply(index, 0)
    return ImageSystem(union, (index,), env, str(root))


def installed_in(root: Path, place: Path) -> tuple[Path, dict[str, str]]:
    """Debian with an environment of wheels, and its variables: hard links, because gigabytes take long to copy."""
    subprocess.run(["cp", "-al", str(debian()), str(root)], check=True)
    (root / "opt/venv").mkdir(parents=True)
    subprocess.run(["cp", "-al", str(place / "lib"), str(root / "opt/venv/lib")], check=True)
    (root / "opt/venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    return root, {**ENV, "VIRTUAL_ENV": "/opt/venv"}


def conda(root: Path, place: Path) -> tuple[Path, dict[str, str]]:
    """An environment as conda lays it out: CUDA's libraries in lib, what is installed in conda-meta; jax from PyPI in it."""
    subprocess.run(["cp", "-al", str(debian()), str(root)], check=True)
    home = root / "opt/conda"
    (packages,) = place.glob("lib/python3*/site-packages")
    python = packages.parent.name
    (home / "conda-meta").mkdir(parents=True)
    (home / "lib" / python).mkdir(parents=True)
    for found in (packages / "nvidia/cu13/lib").glob("lib*.so*"):
        os.link(found, home / "lib" / found.name)
    site = home / "lib" / python / "site-packages"
    site.mkdir()
    for each in packages.glob("jax*"):
        subprocess.run(["cp", "-al", str(each), str(site / each.name)], check=True)
    # https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html, a record of the fields that tell something.
    for name, version in (("cuda-cudart", "13.5.37"), ("libcublas", "13.10.0.20"), ("cuda-version", "13.5")):
        record = {
            "name": name,
            "version": version,
            "build": "h0",
            "build_number": 0,
            "channel": "conda-forge",
            "files": [],
        }
        (home / f"conda-meta/{name}-{version}-h0.json").write_text(json.dumps(record))
    return root, {"PATH": "/opt/conda/bin:/usr/bin:/bin", "CONDA_PREFIX": "/opt/conda"}


def laid_out(name: str, root: Path) -> tuple[Path, dict[str, str]]:
    """A root of that name, and its variables."""
    if name == "debian":
        return debian(), ENV
    return conda(root, environment("jax")) if name == "conda" else installed_in(root, environment(name))


#: What is asked for beside the environment's own name.
TARGETS = {"debian": "torch", "conda": "jax"}


@pytest.mark.parametrize(
    "name", ["debian", "cupy", "torch", "jax", "tensorflow", "onnxruntime-gpu", "xgboost", "conda"]
)
def test_real_wheels(name: str, tmp_path: Path) -> None:
    target = TARGETS.get(name, name)
    root, env = laid_out(name, tmp_path / "root")
    unpacked, layers = Rootfs(str(root), env), in_layers(root, env)
    seen = observe(layers)
    assert encode(seen) == encode(observe(unpacked))
    assert any(each.name.startswith(target) for each in seen.frameworks), "there is something to compare"
    for asked in (target, None, "libc.so.6", "/bin/sh"):
        for symbols in (False, True):
            ours = run(layers, asked, format="json", symbols=symbols)
            theirs = run(unpacked, asked, format="json", symbols=symbols)
            assert (ours.status, ours.text) == (theirs.status, theirs.text)
    assert "kept" not in run(layers, target, everything=True).text
