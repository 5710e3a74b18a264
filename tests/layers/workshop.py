"""Images made by hand: layers as tar archives, in an OCI layout or in what docker save writes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.roots import Link

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
PLAIN = "application/vnd.oci.image.layer.v1.tar"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def member(name: str, **values: Any) -> tarfile.TarInfo:
    """A header; ``type`` and other fields as in ``tarfile``."""
    info = tarfile.TarInfo(name)
    for field, value in values.items():
        setattr(info, field, value)
    return info


def layer(*members: tuple[str, bytes | str] | tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive: (name, content), (name/, ''), (name, '-> target') or headers."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format, errors="surrogateescape") as made:
        for each in members:
            if isinstance(each, tarfile.TarInfo):
                made.addfile(each)
                continue
            name, content = each
            if isinstance(content, str) and content.startswith("-> "):
                made.addfile(member(name, type=tarfile.SYMTYPE, linkname=content[3:], mode=0o777))
            elif isinstance(content, str) and content.startswith("=> "):
                made.addfile(member(name, type=tarfile.LNKTYPE, linkname=content[3:]))
            elif name.endswith("/"):
                made.addfile(member(name, type=tarfile.DIRTYPE, mode=0o755))
            else:
                data = content.encode() if isinstance(content, str) else content
                made.addfile(member(name, size=len(data), mode=0o755), io.BytesIO(data))
    return file.getvalue()


def tree(files: Mapping[str, bytes | str]) -> bytes:
    """The files of a root (``tests.roots``) as a layer."""
    return layer(
        *((path.lstrip("/"), f"-> {each}" if isinstance(each, Link) else each) for path, each in files.items())
    )


def config(layers: Iterable[bytes], architecture: str = "amd64", **values: Any) -> bytes:
    """An image's config for layers as they are without compression."""
    layers = list(layers)
    return json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": values,
            "rootfs": {"type": "layers", "diff_ids": [sha256(each) for each in layers]},
            "history": [{"created_by": f"COPY {number} /"} for number, _ in enumerate(layers)],
        }
    ).encode()


def archive(path: Path, files: Mapping[str, bytes | str]) -> str:
    """The path of a tar archive; text is the target of a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as made:
        for name, content in files.items():
            if isinstance(content, str):
                made.addfile(member(name, type=tarfile.SYMTYPE, linkname=content))
            else:
                made.addfile(member(name, size=len(content)), io.BytesIO(content))
    return str(path)


def saved(
    *layers: bytes, tags: tuple[str, ...] = ("team/image:v1",), name: str = "c", **values: Any
) -> dict[str, bytes | str]:
    """What is in an archive of Docker Engine 20.10: a folder for each layer, the second of two equal ones as a link.

    https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
    """
    files: dict[str, bytes | str] = {}
    places: dict[bytes, str] = {}
    for number, each in enumerate(layers):
        place = f"{name}{number}/layer.tar"
        files[f"{name}{number}/VERSION"] = b"1.0"
        files[f"{name}{number}/json"] = b"{}"
        files[place] = f"../{places[each]}" if each in places else each
        places.setdefault(each, place)
    made = config(layers, **values)
    files[f"{sha256(made)[7:]}.json"] = made
    entry = {
        "Config": f"{sha256(made)[7:]}.json",
        "RepoTags": list(tags),
        "Layers": [f"{name}{number}/layer.tar" for number in range(len(layers))],
    }
    files["manifest.json"] = json.dumps([entry]).encode()
    return files


def save(
    path: Path,
    layers: Iterable[Mapping[str, bytes | str]],
    env: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> str:
    """The path of an archive with one image, whose layers are files of roots."""
    values = {
        "Env": [f"{name}={value}" for name, value in (env or {}).items()],
        "Labels": dict(labels or {}),
        "User": "1000:1000",
        "Cmd": ["python3"],
    }
    return archive(path, saved(*(tree(files) for files in layers), **values))


class Layout:
    """An OCI layout in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.entries: list[dict[str, Any]] = []

    def blob(self, data: bytes) -> str:
        digest = sha256(data)
        (self.folder / "blobs" / digest.replace(":", "/")).write_bytes(data)
        return digest

    def descriptor(self, kind: str, data: bytes) -> dict[str, Any]:
        return {"mediaType": kind, "digest": self.blob(data), "size": len(data)}

    def image(
        self,
        layers: Iterable[bytes],
        *,
        stored: Mapping[int, tuple[str, bytes]] | None = None,
        architecture: str = "amd64",
        name: str = "",
        **values: Any,
    ) -> dict[str, Any]:
        """Add an image; ``stored``: (media type, bytes) instead of gzip for a layer by number."""
        layers = list(layers)
        made = [
            self.descriptor(*(stored or {}).get(number, (GZIP, gzip.compress(each, 1, mtime=0))))
            for number, each in enumerate(layers)
        ]
        said = self.descriptor(CONFIG, config(layers, architecture, **values))
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": said, "layers": made}
        entry = self.descriptor(MANIFEST, json.dumps(manifest).encode())
        entry["platform"] = {"os": "linux", "architecture": architecture}
        if name:
            entry["annotations"] = {"org.opencontainers.image.ref.name": name}
        self.add(entry)
        return entry

    def add(self, *entries: dict[str, Any]) -> None:
        self.entries += entries
        self.write(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}).encode())

    def write(self, index: bytes) -> None:
        (self.folder / "index.json").write_bytes(index)

    def tar(self, path: Path) -> Path:
        with tarfile.open(path, "w") as made:
            for each in sorted(self.folder.rglob("*")):
                made.add(each, each.relative_to(self.folder).as_posix(), recursive=False)
        return path


def layout(folder: Path, *layers: bytes, **values: Any) -> str:
    """The path of a layout with one image of these layers."""
    made = Layout(folder / "layout")
    made.image(layers, **values)
    return str(made.folder)
