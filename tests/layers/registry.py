"""A real registry on loopback: Debian's docker-registry (the CNCF's distribution), plain, or with TLS and a password."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.layers.workshop import Layout
from tests.needs import missing

USER, PASSWORD = "someone", "a secret: with ü and a colon"


@dataclass(frozen=True)
class Served:
    """A running registry."""

    host: str
    folder: Path
    """Its storage."""
    ca: Path | None
    log: Path


def certificate(folder: Path) -> Path:
    """A CA and a certificate for loopback that it signed; returns the CA's."""
    run = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    subprocess.run(
        [*run, "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.crt"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    subprocess.run(
        ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost",
         "-keyout", "key.pem", "-out", "request.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(
        ["openssl", "x509", "-req", "-in", "request.pem", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
         "-days", "2", "-extfile", "names", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "ca.crt"


def htpasswd(password: str) -> str:
    """A line of a password file; distribution takes bcrypt alone."""
    made = subprocess.run(["htpasswd", "-nbB", USER, password], check=True, capture_output=True, text=True)
    return made.stdout.strip() + "\n"


@contextmanager
def registry(folder: Path, *, secure: bool = False) -> Iterator[Served]:
    """Start one, and end it."""
    program = shutil.which("docker-registry")
    if program is None or shutil.which("htpasswd") is None:
        missing("registries", "apt-get install docker-registry apache2-utils")
    folder.mkdir()
    ca = certificate(folder) if secure else None
    for _ in range(3):  # A port that was free may be taken a moment later.
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        settings: dict[str, Any] = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
            "http": {"addr": f"127.0.0.1:{port}"},
        }
        if secure:
            (folder / "htpasswd").write_text(htpasswd(PASSWORD))
            settings["http"]["tls"] = {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
            settings["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
        (folder / "config.yml").write_text(json.dumps(settings))
        log = folder / "log"
        with log.open("w") as output:
            child = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=output, stderr=output)
        try:
            if answers(port, child):
                yield Served(f"localhost:{port}" if secure else f"127.0.0.1:{port}", folder / "storage", ca, log)
                return
        finally:
            child.kill()
            child.wait()
    raise AssertionError(log.read_text()[-2000:])


def answers(port: int, child: subprocess.Popen[bytes]) -> bool:
    """Wait until the port is open; False when the program ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            time.sleep(0.02)
    return False


def push(served: Served, layout: Layout, repository: str, tag: str) -> None:
    """Put all blobs and the index's first manifest, or the index when there are more, into a plain registry."""
    top = f"http://{served.host}/v2/{repository}"

    def send(method: str, url: str, data: bytes, kind: str) -> str:
        request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.headers.get("Location") or "")

    def manifest(data: bytes, version: str) -> None:
        send("PUT", f"{top}/manifests/{version}", data, json.loads(data)["mediaType"])

    blobs = {f"sha256:{path.name}": path.read_bytes() for path in (layout.folder / "blobs/sha256").iterdir()}
    manifests = {entry["digest"] for entry in layout.entries}
    for digest, data in blobs.items():
        if digest not in manifests:
            place = send("POST", f"{top}/blobs/uploads/", b"", "application/octet-stream")
            joint = "&" if "?" in place else "?"
            send("PUT", f"{place}{joint}digest={digest.replace(':', '%3A')}", data, "application/octet-stream")
    for digest in manifests:
        manifest(blobs[digest], digest)
    only = len(layout.entries) == 1
    manifest(blobs[layout.entries[0]["digest"]] if only else (layout.folder / "index.json").read_bytes(), tag)
