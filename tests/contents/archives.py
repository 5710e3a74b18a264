"""Small images: archives as ``docker save`` writes them, out of mappings."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.roots import Link

Files = Mapping[str, "str | bytes"]


def layer(files: Files) -> bytes:
    """A layer's tar, the same for the same files."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            if isinstance(content, Link):
                entry.type, entry.linkname = tarfile.SYMTYPE, str(content)
                tar.addfile(entry)
                continue
            data = content.encode() if isinstance(content, str) else content
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return written.getvalue()


def save(
    place: Path,
    layers: Sequence[Files],
    env: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    name: str = "app:1.0",
) -> str:
    """The path of an archive: https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format."""
    tars = [layer(files) for files in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": [f"{key}={value}" for key, value in (env or {}).items()],
            "Labels": dict(labels or {}),
            "User": "1000:1000",
            "Cmd": ["python3"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]},
        "history": [{"created_by": f"COPY {number} /"} for number, _ in enumerate(tars)],
    }
    encoded = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(encoded).hexdigest()}.json"
    manifest = [
        {"Config": config_name, "RepoTags": [name], "Layers": [f"{number}/layer.tar" for number, _ in enumerate(tars)]}
    ]
    parts = {config_name: encoded, **{f"{number}/layer.tar": tar for number, tar in enumerate(tars)}}
    parts["manifest.json"] = json.dumps(manifest).encode()
    place.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(place, "w") as archive:
        for path, data in parts.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return str(place)
