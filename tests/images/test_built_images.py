"""The images of the matrix, built by a real engine, looked at from outside and from inside."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ci.contract import CONTRACT, REPORT_KEYS
from ci.engine import Engine
from ci.images import build_arguments
from ci.matrix import BASES, load
from gpucheck import __version__
from tests.disposable import disposable
from tests.images.conftest import PREFIX, ROOT
from tests.needs import missing

#: A host that only a build of ours knows (.test is reserved: RFC 6761). A name, because pip 25.1 fails on an IP address
#: before it looks at the certificate.
INDEX = "index.test"

ROWS = {image.name: image for image in load(ROOT / "base-images", date.today()).images}

#: Of the rows that projects are built on.
PROMISES = [
    *("user", "labels", "environment", "python", "gpucheck answers", "no CUDA library", "gpucheck agrees"),
    *("labels suffice", "labels are true"),
]
OF_THE_AGENT = [*PROMISES[:5], "agent asks for its node", "agent has its client", "no CUDA library"]

COMMON = {
    "gpu-capable.schema": "1",
    "gpu-capable.version": __version__,
    "gpu-capable.python": "3.13",
    "gpu-capable.eol": "2028-08-09",
    "org.opencontainers.image.version": __version__,
    "org.opencontainers.image.base.name": "debian:trixie-slim",
}


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    done = engine.run("image", "inspect", "--format", "{{json .Config}}", name)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_promise_is_kept(images: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ci.images", "test", "--tag-prefix", PREFIX],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [
        f"{image}  {promise} kept"
        for name, image in images.items()
        for promise in (PROMISES if ROWS[name].family in BASES else OF_THE_AGENT)
    ]
    assert [" ".join(line.split()) for line in done.stdout.splitlines()] == [
        "image promise result",
        *(" ".join(row.split()) for row in rows),
    ], done.stderr
    assert done.returncode == 0


def test_the_labels_are_the_gpu_contract(engine: Engine, images: dict[str, str]) -> None:
    labels = {name: inspect(engine, image)["Labels"] for name, image in images.items()}
    for found in labels.values():
        assert found.pop("org.opencontainers.image.revision") not in ("", "notset")
    contracts = {name: json.loads(found.pop(CONTRACT)) for name, found in labels.items() if CONTRACT in found}
    assert {name: (found["gpu"], found["visible_devices"], found["code"]) for name, found in contracts.items()} == {
        "cpu": (False, None, []),
        "cuda13": (None, "all", []),
    }
    assert labels == {
        "cpu": {
            **COMMON,
            "gpu-capable.name": "cpu",
            "gpu-capable.family": "wheels",
            "gpu-capable.gpu": "false",
            "org.opencontainers.image.title": "gpu-capable cpu",
            "org.opencontainers.image.description": "CPU only, Python 3.13",
        },
        "cuda13": {
            **COMMON,
            "gpu-capable.name": "cuda13",
            "gpu-capable.family": "wheels",
            "gpu-capable.gpu": "true",
            "gpu-capable.cuda": "13",
            "gpu-capable.driver-floor": "580.65.06",
            "org.opencontainers.image.title": "gpu-capable cuda13",
            "org.opencontainers.image.description": "CUDA 13 from wheels, Python 3.13",
        },
        "agent": {
            **COMMON,
            "gpu-capable.name": "agent",
            "gpu-capable.family": "agent",
            "gpu-capable.gpu": "false",
            "org.opencontainers.image.title": "gpu-capable agent",
            "org.opencontainers.image.description": "The node agent of helm/gpucheck",
        },
    }


@pytest.mark.parametrize("row", [name for name, image in ROWS.items() if image.family in BASES])
def test_what_is_built_on_a_base_image_is_not_judged_by_its_contract(
    engine: Engine, images: dict[str, str], row: str
) -> None:
    name = disposable(f"child-of-{row}")
    assert engine.build(["--tag", name], f"FROM {images[row]}\nRUN echo more > /tmp/more\n") == 0
    for image, status in ((images[row], 0), (name, 3)):
        done = subprocess.run(
            [sys.executable, "-m", "gpucheck", "image", f"docker:{image}", "--labels-only"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (status, ""), done.stdout


def test_the_environment(engine: Engine, images: dict[str, str]) -> None:
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    uv = {"UV_PYTHON_DOWNLOADS=never", "UV_LINK_MODE=copy"}
    assert set(inspect(engine, images["cpu"])["Env"]) == {path, *uv}
    assert inspect(engine, images["agent"])["Env"] == [path]
    assert set(inspect(engine, images["cuda13"])["Env"]) == {
        f"{path}:/usr/local/nvidia/bin",
        *uv,
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        "LD_LIBRARY_PATH=/usr/local/nvidia/lib64",
    }


@pytest.mark.parametrize("row", list(ROWS))
def test_gpucheck_answers_inside(engine: Engine, images: dict[str, str], row: str) -> None:
    """No GPU is passed to this container, so that is what gpucheck finds, whatever the machine has."""
    confined = ("--network=none", "--read-only", "--cap-drop=ALL", "--env=NVIDIA_VISIBLE_DEVICES=void")
    done = engine.run("run", "--rm", *confined, images[row], "gpucheck", "doctor", "--format", "json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert set(report) == set(REPORT_KEYS)
    assert (report["schema"], report["command"], report["verdict"]) == (1, "doctor", "incompatible")
    assert report["root_causes"] in (["no-gpu"], ["gpu-not-passed-to-container"])
    assert report["findings"][0]["rule"] == report["root_causes"][0]
    assert report["findings"][0]["remedy"]
    assert {outcome["status"] for outcome in report["outcomes"]} >= {"pass", "fail"}
    assert not [outcome for outcome in report["outcomes"] if outcome["status"] == "crash"]


@pytest.mark.parametrize("row", [name for name, image in ROWS.items() if image.family == "wheels"])
def test_a_user_s_environment_is_made_without_a_network(engine: Engine, images: dict[str, str], row: str) -> None:
    code = "import os, sys; print(os.getuid(), os.getcwd(), sys.version_info[:2])"
    script = f"uv venv --quiet .venv && .venv/bin/python -c '{code}'"
    done = engine.run("run", "--rm", "--network=none", images[row], "sh", "-ec", script)
    assert (done.returncode, done.stdout) == (0, "1000 /app (3, 13)\n"), done.stderr


def test_a_driver_that_gke_mounts_is_found(engine: Engine, images: dict[str, str], tmp_path: Path) -> None:
    """A mount at run time and no ldconfig, as on GKE: LD_LIBRARY_PATH finds it; without the variable nothing does."""
    compiler = shutil.which("cc")
    if not compiler:
        missing("the driver library path of GKE", "install a C compiler, cc")
    tmp_path.chmod(0o755)
    source, library = tmp_path / "cuda.c", tmp_path / "libcuda.so.1"
    source.write_text("int cuInit(unsigned flags) { return 100; }\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-nostdlib", "-o", library, source], check=True)

    def load_driver(*options: str) -> str:
        code = "import ctypes; print(ctypes.CDLL('libcuda.so.1').cuInit(0))"
        mount = f"--volume={tmp_path}:/usr/local/nvidia/lib64:ro"
        done = engine.run("run", "--rm", mount, *options, images["cuda13"], "python3", "-c", code)
        return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

    assert load_driver() == "100"
    without = "OSError: libcuda.so.1: cannot open shared object file: No such file or directory"
    assert load_driver("--env=LD_LIBRARY_PATH=/nonexistent") == without


def test_the_agent_s_image_has_its_pins_and_no_installer(engine: Engine, images: dict[str, str]) -> None:
    code = (
        "import importlib.metadata, importlib.util\n"
        "assert not importlib.util.find_spec('pip')\n"
        "for found in importlib.metadata.distributions():\n"
        "    print(found.metadata['Name'].lower().replace('_', '-'), found.version, sep='==')\n"
    )
    done = engine.run("run", "--rm", "--network=none", images["agent"], "/opt/gpucheck/bin/python", "-c", code)
    assert done.returncode == 0, done.stderr
    lines = (ROOT / "base-images/images/agent/requirements.txt").read_text().splitlines()
    pins = {line.split()[0] for line in lines if line and line[0] not in " #"}
    assert set(done.stdout.split()) == {*pins, f"gpu-capable=={__version__}"}
    which = "command -v pip pip3 uv ensurepip; exit 0"
    assert engine.run("run", "--rm", "--network=none", images["agent"], "sh", "-c", which).stdout == ""


def test_the_agent_s_pins_are_what_pyproject_asks_for(tmp_path: Path) -> None:
    """uv keeps the pins that it finds in its output file, and changes those that no longer do."""
    file = ROOT / "base-images/images/agent/requirements.txt"
    command = file.read_text().splitlines()[1].removeprefix("#    uv ").split()
    assert command[-1] == str(file.relative_to(ROOT))
    copy = tmp_path / file.name
    shutil.copy(file, copy)
    uv = os.path.join(os.path.dirname(sys.executable), "uv")
    done = subprocess.run([uv, *command[:-1], copy], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert copy.read_text().splitlines()[2:] == file.read_text().splitlines()[2:], f"run: uv {' '.join(command)}"


@pytest.mark.parametrize("directory", sorted({row.directory for row in ROWS.values()}))
def test_a_forgotten_build_argument_fails(engine: Engine, upstream: str, pyz: Path, directory: str) -> None:
    done = build(engine, [str(ROOT), "--file", str(ROOT / f"base-images/images/{directory}/Dockerfile")])
    assert done.returncode != 0
    assert "notset" in done.stderr


@pytest.mark.parametrize("row", ["cpu", "agent"])
def test_a_python_that_is_not_the_row_s_fails(engine: Engine, images: dict[str, str], upstream: str, row: str) -> None:
    arguments = build_arguments(ROWS[row], f"{PREFIX}/wrong-python", upstream, None)
    arguments[arguments.index("PYTHON=3.13")] = "PYTHON=3.12"
    done = build(engine, arguments)
    assert done.returncode != 0
    assert "the upstream's python3 is 3.13, not 3.12" in done.stderr


@pytest.mark.parametrize("row", ["cpu", "agent"])
def test_a_build_behind_a_private_ca(
    engine: Engine, images: dict[str, str], upstream: str, tmp_path: Path, row: str
) -> None:
    """An index whose certificate only our own CA vouches for: refused without the secret, and nothing of it is kept."""
    gateway = find_gateway(engine, images["cpu"])
    ca = make_certificates(tmp_path)
    marker = "gpu-capable-private-ca"
    ca.write_text(f"# {marker}\n{ca.read_text()}")
    with serve_index(gateway, tmp_path) as index:
        name = f"{PREFIX}/{row}-behind-a-ca"
        arguments = ["--add-host", f"{INDEX}:{gateway}", "--build-arg", f"PIP_INDEX_URL={index}"]
        refused = build(engine, [*arguments, *build_arguments(ROWS[row], name, upstream, None)])
        assert refused.returncode != 0
        assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr
        built = build(engine, [*arguments, *build_arguments(ROWS[row], name, upstream, ca)])
        assert built.returncode == 0, built.stderr
    saved = tmp_path / "saved.tar"
    assert engine.run("save", "--output", str(saved), name).returncode == 0
    content = saved.read_bytes()
    assert b"gpu-capable.family" in content
    assert marker.encode() not in content
    assert INDEX.encode() not in content


def build(engine: Engine, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    # PIP_INDEX_URL of our own environment must not come after the one that a test gives.
    env = {key: value for key, value in os.environ.items() if key != "PIP_INDEX_URL"}
    return subprocess.run(
        [engine.client, "build", "--progress", "plain", *arguments],
        env={**env, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def find_gateway(engine: Engine, image: str) -> str:
    """This machine's address as containers see it: their default route (proc(5), /proc/net/route)."""
    code = (
        "import socket\n"
        "for line in open('/proc/net/route'):\n"
        "    _, destination, gateway, *_ = line.split()\n"
        "    if destination == '00000000':\n"
        "        print(socket.inet_ntoa(bytes.fromhex(gateway)[::-1]))\n"
    )
    found = engine.run("run", "--rm", image, "python3", "-c", code).stdout.strip()
    assert found, "containers have no default route"
    return found


def make_certificates(folder: Path) -> Path:
    """A CA and a certificate of it for the index; the CA's file."""
    (folder / "extensions").write_text(f"subjectAltName=DNS:{INDEX}\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=gpu-capable-test -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=index -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder / "ca.pem"


@contextmanager
def serve_index(address: str, folder: Path) -> Iterator[str]:
    """A mirror of the package index over HTTPS; its address."""
    upstream = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    files = "https://files.pythonhosted.org/"

    class Mirror(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = self.path.startswith("/simple/")
            url = upstream + self.path.removeprefix("/simple") if page else files + self.path.removeprefix("/files/")
            with urllib.request.urlopen(url) as answer:
                body = answer.read()
            if page:
                body = body.replace(files.encode(), b"/files/")
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if page else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    with http.server.ThreadingHTTPServer((address, 0), Mirror) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://{INDEX}:{server.server_address[1]}/simple/"
        finally:
            server.shutdown()
            thread.join()
