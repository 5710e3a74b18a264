"""How long it takes to look into an image with torch's CUDA wheels, against only decompressing its layers.

The image is an OCI layout with a layer of Debian and one of the environment that ci/setup/torch.sh made, compressed with gzip as
engines push them. It is made once, in the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.pairs import say_missing, seconds
from bench.startup import cache

RUNS = 3
RATIO = 1.5
MEMORY = 300
CACHED = 1.0
CONFIG = 0.5

INFLATE = """
import sys, zlib
for path in sys.argv[1:]:
    inflate = zlib.decompressobj(31)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            while piece:
                inflate.decompress(piece, 1 << 20)
                piece = inflate.unconsumed_tail
"""

PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"


def main() -> None:
    torch = Path(os.environ.get("GPU_CAPABLE_TORCH") or cache() / "torch")
    base = next(cache().glob("debian-trixie-*.tar"), None)
    if base is None or not torch.exists():
        say_missing("an image with torch", "run: ci/setup/debian-image.sh and ci/setup/torch.sh")
        return
    place = cache() / "images/torch"
    layers = make(place, base, torch)
    stored = [str(each) for each in layers]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        look = [sys.executable, "-m", "gpucheck", "snapshot", "-o", os.devnull, "--image", str(place)]
        for name, peer in (
            ("python zlib", [sys.executable, "-c", INFLATE, *stored]),
            ("gzip -dc", ["sh", "-c", f"gzip -dc {' '.join(stored)} >/dev/null"]),
        ):
            pairs = [(seconds([*look, "--no-cache"]), seconds(peer)) for _ in range(RUNS)]
            ours, theirs = (statistics.median(column) for column in zip(*pairs))
            ratio = statistics.median(one / other for one, other in pairs)
            print(
                f"gpucheck snapshot --image (torch)  {ours:7.2f} s   {name:<14} {theirs:7.2f} s   {ratio:5.2f}x (limit {RATIO})"
            )
        say("first run with a cache", seconds(look), "none")
        say("second run", min(seconds(look) for _ in range(RUNS)), f"{CACHED} s")
        layers[1].rename(layers[1].with_suffix(".away"))
        try:
            say("second run, the layers are gone", seconds(look), f"{CACHED} s")
        finally:
            layers[1].with_suffix(".away").rename(layers[1])
        shutil.rmtree(os.path.join(folder, "gpucheck"))
        code = f"import subprocess, sys; subprocess.run({look!r}, check=True); {PEAK}"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        print(f"peak memory                        {int(done.stdout):7} MB   (limit {MEMORY})")
    configs()


def say(name: str, took: float, limit: str) -> None:
    """A line for a time of its own."""
    print(f"{name:<34} {took:7.2f} s   (limit {limit})")


def make(place: Path, base: Path, torch: Path) -> list[Path]:
    """The layout; returns the files of its layers."""
    blobs = place / "blobs/sha256"
    if not (place / "index.json").exists():
        shutil.rmtree(place, ignore_errors=True)
        blobs.mkdir(parents=True)
        tree = [
            "tar",
            "-C",
            str(torch),
            "--exclude=./bin",
            r"--transform=s,^\./,opt/venv/,",
            "--numeric-owner",
            "-c",
            "./lib",
        ]
        rows = [layer(blobs, ["cat", str(base)]), layer(blobs, tree)]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/opt/venv/bin:/usr/bin:/bin", "VIRTUAL_ENV=/opt/venv"]},
            "rootfs": {"type": "layers", "diff_ids": [content for _, _, content in rows]},
        }
        manifest = {
            "schemaVersion": 2,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(blobs, config)},
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size}
                for digest, size, _ in rows
            ],
        }
        entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", **blob(blobs, manifest)}
        (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    entry = json.loads((place / "index.json").read_text())["manifests"][0]
    manifest = json.loads((blobs / entry["digest"][7:]).read_text())
    return [blobs / each["digest"][7:] for each in manifest["layers"]]


def layer(blobs: Path, command: list[str]) -> tuple[str, int, str]:
    """(digest, size, digest of the content) of what a command writes, compressed."""
    content = hashlib.sha256()
    path = blobs / "new"
    with path.open("wb") as file, subprocess.Popen(command, stdout=subprocess.PIPE) as source:
        assert source.stdout
        with subprocess.Popen(["gzip", "-1"], stdin=subprocess.PIPE, stdout=file) as deflate:
            assert deflate.stdin
            while piece := source.stdout.read(1 << 20):
                content.update(piece)
                deflate.stdin.write(piece)
            deflate.stdin.close()
    stored = hashlib.sha256()
    with path.open("rb") as read:
        while piece := read.read(1 << 20):
            stored.update(piece)
    size = path.stat().st_size
    path.rename(blobs / stored.hexdigest())
    return f"sha256:{stored.hexdigest()}", size, f"sha256:{content.hexdigest()}"


def blob(blobs: Path, document: object) -> dict[str, str | int]:
    """Write a document; its descriptor."""
    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def configs() -> None:
    """The config alone, from a registry on loopback."""
    if shutil.which("docker-registry") is None:
        say_missing("the config alone from a registry", "apt-get install docker-registry apache2-utils")
        return
    from tests.layers.registry import push, registry
    from tests.layers.workshop import Layout
    from tests.layers.workshop import layer as made

    code = "import sys; from gpucheck.images.opening import read_config; read_config(sys.argv[1])"
    with tempfile.TemporaryDirectory() as folder, registry(Path(folder) / "registry") as served:
        layout = Layout(Path(folder) / "layout")
        layout.image((made(("x", "y")),), Labels={"a": "b"})
        push(served, layout, "one", "v1")
        command = [sys.executable, "-c", code, f"registry:{served.host}/one:v1"]
        say("config alone, whole process", statistics.median(seconds(command) for _ in range(7)), f"{CONFIG} s")


if __name__ == "__main__":
    main()
