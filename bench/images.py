"""How long ``gpucheck image`` takes for an image with torch's CUDA wheels, against only decompressing its layers.

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
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.pairs import cost, say_missing
from bench.startup import cache

RUNS = 3
RATIO = 1.5
MEMORY = 300
CACHED = 1.0
CONFIG = 0.5
BLOBS = "blobs/sha256"

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

#: Not getrusage(2): its peak begins with that of the process which called execve(2).
PEAK = """
import os, runpy, sys
end = os._exit
def tell(code):
    print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
    end(code)
os._exit = tell
runpy.run_module("gpucheck", run_name="__main__")
"""


def main() -> None:
    # As it is installed: its modules compiled, which the first run does.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    contents()
    configs()


def contents() -> None:
    """The whole image, again from the cache, and another one on top of it."""
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
        image = ["image", "--output", os.devnull]
        look = [sys.executable, "-m", "gpucheck", *image]
        peers = {
            "gzip -dc": ["sh", "-c", f"gzip -dc {' '.join(stored)} >/dev/null"],
            "python zlib": [sys.executable, "-c", INFLATE, *stored],
        }
        runs = [
            (cost([*look, "--no-cache", str(place)], status=0), *(cost(peer, status=0) for peer in peers.values()))
            for _ in range(RUNS)
        ]
        for number, (peer, limit) in enumerate(zip(peers, (RATIO, "none")), 1):
            for kind, unit in enumerate(("wall clock", "processor")):
                ours, theirs = (statistics.median(run[which][kind] for run in runs) for which in (0, number))
                ratio = statistics.median(run[0][kind] / run[number][kind] for run in runs)
                print(
                    f"{'gpucheck image (torch)':<38} {ours:7.2f} s   {f'{peer}, {unit}':<24} {theirs:7.2f} s   "
                    f"ratio {ratio:5.2f}   (limit {limit})"
                )
        command = [sys.executable, "-c", PEAK, *image, str(place)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
        print(f"{'its peak memory':<38} {int(done.stderr.split()[-1]):6} MB   (limit {MEMORY} MB)")
        say("second run", least([*look, str(place)]), CACHED)
        layers[1].rename(layers[1].with_suffix(".away"))
        try:
            say("second run, the layers are gone", least([*look, str(place)]), CACHED)
        finally:
            layers[1].with_suffix(".away").rename(layers[1])
        above = another(place, Path(folder) / "above")
        say("first run of an image on top of it", cost([*look, str(above)], status=0), CACHED)


def least(command: list[str], status: int = 0) -> tuple[float, float]:
    """The shortest of some runs that end with this status: wall clock and processor."""
    return min(cost(command, status=status) for _ in range(RUNS))


def say(name: str, took: tuple[float, float], limit: float) -> None:
    """A line for times of their own; the limit is on the wall clock."""
    print(f"{name:<38} {took[0]:7.2f} s   {'processor':<24} {took[1]:7.2f} s   ratio {took[0] / limit:5.2f}   (limit 1: {limit} s)")  # fmt: skip


def make(place: Path, base: Path, torch: Path) -> list[Path]:
    """The layout; returns the files of its layers."""
    if not (place / "index.json").exists():
        shutil.rmtree(place, ignore_errors=True)
        # It takes minutes: what was cut off, or is made beside, is never taken for a whole one.
        place.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=place.parent))
        blobs = new / BLOBS
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
        describe(new, [layer(blobs, ["cat", str(base)]), layer(blobs, tree)])
        new.rename(place)
    manifest, _ = documents(place)
    return [place / BLOBS / each["digest"][7:] for each in manifest["layers"]]


def another(below: Path, place: Path) -> Path:
    """A layout of an image with one small layer more, as a build on a base makes it, without the layers below: they are known."""
    manifest, config = documents(below)
    (place / BLOBS).mkdir(parents=True)
    program = place / "main.py"
    program.write_text("import torch\n")
    rows = [
        (each["digest"], each["size"], content)
        for each, content in zip(manifest["layers"], config["rootfs"]["diff_ids"])
    ]
    added = ["tar", "-C", str(place), "--transform=s,^,app/,", "--numeric-owner", "-c", program.name]
    describe(place, [*rows, layer(place / BLOBS, added)])
    return place


def documents(place: Path) -> tuple[Any, Any]:
    """Manifest and config of a layout's one image."""
    entry = json.loads((place / "index.json").read_text())["manifests"][0]
    manifest = json.loads((place / BLOBS / entry["digest"][7:]).read_text())
    return manifest, json.loads((place / BLOBS / manifest["config"]["digest"][7:]).read_text())


def describe(place: Path, rows: list[tuple[str, int, str]]) -> None:
    """Write config, manifest and index for layers: (digest, size, digest of the content)."""
    blobs = place / BLOBS
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

    with tempfile.TemporaryDirectory() as folder, registry(Path(folder) / "registry") as served:
        layout = Layout(Path(folder) / "layout")
        layout.image((made(("x", "y")),), Labels={"a": "b"})
        push(served, layout, "one", "v1")
        name = f"registry:{served.host}/one:v1"
        command = [sys.executable, "-m", "gpucheck", "image", "--labels-only", name]
        # Its labels do not tell what it needs: status 3.
        say("--labels-only, a registry on loopback", least(command, 3), CONFIG)


if __name__ == "__main__":
    main()
