"""Images in a real registry, and in a server that misbehaves as real ones do."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gpucheck.images import http, registry
from gpucheck.images.opening import open_image, read_config
from gpucheck.images.records import ImageError
from tests.cli.test_commands import gpucheck
from tests.layers.registry import PASSWORD, USER, Served, push
from tests.layers.registry import registry as serve
from tests.layers.workshop import Layout, layer, sha256, tree
from tests.roots import DEBIAN, TORCH

FILES = layer(("etc/os-release", "ID=test\n"), ("usr/lib/x.conf", "x" * 3000))
ARM = layer(("etc/os-release", "ID=arm\n"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("plain")
    with serve(folder / "registry") as served:
        one = Layout(folder / "one")
        one.image((FILES,), Env=["A=1", "B=x=y"], Labels={"key": "value"}, User="app")
        push(served, one, "team/one", "v1")
        many = Layout(folder / "many")
        many.image((FILES,))
        many.image((ARM,), architecture="arm64")
        push(served, many, "many", "latest")
        yield served


@pytest.fixture(scope="module")
def secure(plain: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same storage behind TLS and a password."""
    folder = tmp_path_factory.mktemp("secure")
    with serve(folder / "registry", secure=True) as served:
        os.rmdir(served.folder) if served.folder.exists() else None
        served.folder.symlink_to(plain.folder)
        yield served


def test_without_an_engine_and_without_tls_on_loopback(plain: Served, around: Mapping[str, str]) -> None:
    with open_image(f"registry:{plain.host}/team/one:v1", cache=False, surroundings=around) as image:
        assert image.system.read("/etc/os-release") == b"ID=test\n"
        assert dict(image.system.env) == {"A": "1", "B": "x=y"}
        assert (image.config.user, dict(image.config.labels)) == ("app", {"key": "value"})
        assert (image.architecture, image.os) == ("amd64", "linux")
        digest = image.digest
        (only,) = image.layers
        assert only.size and only.diff_id == sha256(FILES) and only.unpacked == 3008
    by_digest = f"docker://{plain.host}/team/one@{digest}"
    assert read_config(by_digest, surroundings=around).digest == digest


def test_an_index_of_two_platforms(plain: Served, around: Mapping[str, str]) -> None:
    for platform, expected in (("linux/arm64", b"ID=arm\n"), ("amd64", b"ID=test\n"), ("aarch64", b"ID=arm\n")):
        with open_image(f"{plain.host}/many", platform=platform, cache=False, surroundings=around) as image:
            assert image.system.read("/etc/os-release") == expected
    with pytest.raises(ImageError, match=r"no image for linux/s390x; there are: linux/amd64, linux/arm64"):
        read_config(f"registry:{plain.host}/many", platform="s390x", surroundings=around)
    with pytest.raises(ImageError, match=r"no image for linux/arm64; it is for linux/amd64"):
        read_config(f"registry:{plain.host}/team/one:v1", platform="linux/arm64", surroundings=around)


def test_the_config_alone_reads_no_layer(plain: Served, around: Mapping[str, str]) -> None:
    before = plain.log.read_text().count("blobs/sha256")
    found = read_config(f"registry:{plain.host}/team/one:v1", surroundings=around)
    assert dict(found.config.labels) == {"key": "value"}
    assert found.layers[0].unpacked is None
    assert sha256(FILES) == found.layers[0].diff_id
    asked = re.findall(r'"GET /v2/team/one/blobs/(\S+) HTTP', plain.log.read_text())
    assert found.layers[0].digest not in asked[before:]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing:v1", "has no nothing:v1; if it is private: docker login 127"),
        ("team/one:v2", "has no team/one:v2"),
        ("team/one@sha256:" + "0" * 64, "has no team/one@sha256:0000"),
    ],
)
def test_what_is_not_there(plain: Served, name: str, said: str, around: Mapping[str, str]) -> None:
    with pytest.raises(ImageError, match=re.escape(said)):
        read_config(f"registry:{plain.host}/{name}", surroundings=around)


def login(around: Mapping[str, str], document: object, folder: str = ".docker", name: str = "config.json") -> None:
    place = Path(around["HOME"], folder)
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(json.dumps(document))


def auth(password: str = PASSWORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}


def helper(tmp_path: Path, script: str) -> dict[str, str]:
    program = tmp_path / "bin/docker-credential-test"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{program.parent}:/usr/bin:/bin"}


def trusting(served: Served, around: Mapping[str, str], **more: str) -> dict[str, str]:
    assert served.ca
    return {**around, "SSL_CERT_FILE": str(served.ca), **more}


def test_tls_and_a_password(secure: Served, around: Mapping[str, str]) -> None:
    reference = f"registry:{secure.host}/team/one:v1"
    with pytest.raises(ImageError, match=r"its certificate is not trusted here .* put its CA into"):
        read_config(reference, surroundings=around)
    trusted = trusting(secure, around)
    with pytest.raises(ImageError, match=rf"without credentials \(401\); log in: docker login {secure.host}"):
        read_config(reference, surroundings=trusted)
    login(around, {"auths": {secure.host: auth("wrong")}})
    with pytest.raises(ImageError, match=r"as given by .*/.docker/config.json \(401\)"):
        read_config(reference, surroundings=trusted)
    login(around, {"auths": {secure.host: auth()}})
    with open_image(reference, cache=False, surroundings=trusted) as image:
        assert image.system.read("/etc/os-release") == b"ID=test\n"


@pytest.mark.parametrize(
    ("folder", "name", "key", "variables"),
    [
        (".docker", "config.json", "https://{host}", {}),
        ("elsewhere", "config.json", "{host}", {"DOCKER_CONFIG": "{home}/elsewhere"}),
        (".config/containers", "auth.json", "{host}/team", {}),
        ("run/containers", "auth.json", "{host}/team/one", {"XDG_RUNTIME_DIR": "{home}/run"}),
        ("x", "auth.json", "{host}", {"REGISTRY_AUTH_FILE": "{home}/x/auth.json"}),
    ],
)
def test_where_credentials_are(
    secure: Served, around: Mapping[str, str], folder: str, name: str, key: str, variables: Mapping[str, str]
) -> None:
    login(around, {"auths": {key.format(host=secure.host): auth()}}, folder, name)
    more = {variable: value.format(home=around["HOME"]) for variable, value in variables.items()}
    read_config(f"registry:{secure.host}/team/one:v1", surroundings=trusting(secure, around, **more))


@pytest.mark.parametrize("setting", ["credHelpers", "credsStore"])
def test_credential_helpers(secure: Served, around: Mapping[str, str], tmp_path: Path, setting: str) -> None:
    said = json.dumps({"ServerURL": secure.host, "Username": USER, "Secret": PASSWORD})
    script = f"""read server; [ "$1 $server" = "get {secure.host}" ] || {{ echo credentials not found; exit 1; }}; echo '{said}'"""
    login(around, {setting: {secure.host: "test"} if setting == "credHelpers" else "test", "auths": {secure.host: {}}})
    surroundings = trusting(secure, around, **helper(tmp_path, script))
    read_config(f"registry:{secure.host}/team/one:v1", surroundings=surroundings)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo credentials not found in native keychain; exit 1", "without credentials"),
        ("echo pass: store is locked >&2; exit 1", "docker-credential-test failed: pass: store is locked"),
        ("echo nonsense", "did not answer as a credential helper does"),
        ("exit 3", "failed: status 3"),
    ],
)
def test_credential_helpers_that_do_not_help(
    secure: Served, around: Mapping[str, str], tmp_path: Path, script: str, said: str
) -> None:
    login(around, {"credsStore": "test"})
    with pytest.raises(ImageError, match=re.escape(said)):
        read_config(
            f"registry:{secure.host}/team/one:v1",
            surroundings=trusting(secure, around, **helper(tmp_path, script)),
        )


def test_credentials_that_cannot_be_read(secure: Served, around: Mapping[str, str]) -> None:
    reference = f"registry:{secure.host}/team/one:v1"
    for document, said in (
        ({"credsStore": "not-there"}, "docker-credential-not-there: No such file or directory"),
        ({"credsStore": "../../bin/sh"}, "not the name of a program"),
        ({"auths": {secure.host: {"auth": "???"}}}, "has credentials that cannot be read"),
    ):
        login(around, document)
        with pytest.raises(ImageError, match=re.escape(said)):
            read_config(reference, surroundings=trusting(secure, around))
    Path(around["HOME"], ".docker/config.json").write_text("{")
    with pytest.raises(ImageError, match=r"config.json: is not JSON"):
        read_config(reference, surroundings=trusting(secure, around))


def test_a_private_ca_as_docker_has_it(
    secure: Served, around: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert secure.ca
    folder = tmp_path / "certs.d" / secure.host
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(secure.ca.read_bytes())
    monkeypatch.setattr(http, "CERTIFICATES", str(tmp_path / "certs.d"))
    login(around, {"auths": {secure.host: auth()}})
    read_config(f"registry:{secure.host}/team/one:v1", surroundings=around)
    (folder / "broken.crt").write_text("no certificate")
    with pytest.raises(ImageError, match=r"broken.crt: "):
        read_config(f"registry:{secure.host}/team/one:v1", surroundings=around)


# -- a server that misbehaves ------------------------------------------------------------------------------------------


class Server:
    """Answers from a table: path -> (status, headers, body), or a function of the request that gives that."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        table = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                table.asked.append((self.path, headers))
                found = table.answers.get(self.path.partition("?")[0], (404, {}, b""))
                status, sent, body = found(headers) if callable(found) else found
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **sent}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def image(self, made: Layout) -> str:
        for path in (made.folder / "blobs/sha256").iterdir():
            self.answers[f"/v2/x/blobs/sha256:{path.name}"] = (200, {}, path.read_bytes())
        entry = made.entries[0]
        data = (made.folder / "blobs" / entry["digest"].replace(":", "/")).read_bytes()
        self.answers["/v2/x/manifests/latest"] = (200, {"Content-Type": entry["mediaType"]}, data)
        return f"registry:{self.host}/x"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def image(server: Server, tmp_path: Path) -> tuple[str, str]:
    """(reference, path of the layer)"""
    made = Layout(tmp_path / "made")
    # Bytes that gzip cannot make smaller, so that the connection can end in the middle.
    noise = b"".join(hashlib.sha256(bytes((number % 256, number // 256))).digest() for number in range(9000))
    made.image((layer(("etc/os-release", "ID=x\n"), ("noise.conf", noise)),))
    reference = server.image(made)
    largest = max((made.folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    return reference, f"/v2/x/blobs/sha256:{largest.name}"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_dropped_connection_is_taken_up_again(
    server: Server, image: tuple[str, str], ranges: bool, around: Mapping[str, str]
) -> None:
    reference, path = image
    whole = server.answers[path][2]

    def part(headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        start = int(headers.get("range", "bytes=0-")[6:-1]) if ranges else 0
        length = {"Content-Length": str(len(whole) - start)}
        if len([each for each, _ in server.asked if each == path]) > 3:
            return (206 if start else 200), length, whole[start:]
        # Says more than it sends.
        return (206 if start else 200), length, whole[start : start + 50_000]

    server.answers[path] = part
    with open_image(reference, cache=False, surroundings=around) as opened:
        assert opened.system.read("/etc/os-release") == b"ID=x\n"
    asked = [headers.get("range") for each, headers in server.asked if each == path]
    assert asked[0] is None and all(asked[1:]) and len(asked) == 4


def test_one_that_never_sends_all(server: Server, image: tuple[str, str], around: Mapping[str, str]) -> None:
    reference, path = image
    server.answers[path] = lambda _: (200, {"Content-Length": "1000000"}, b"")
    with pytest.raises(ImageError, match=r"stopped sending after 0 bytes .*; try again"):
        open_image(reference, cache=False, surroundings=around)
    assert len([each for each, _ in server.asked if each == path]) == registry.ATTEMPTS


def test_a_redirect_takes_no_credentials_to_another_host(
    server: Server, image: tuple[str, str], around: Mapping[str, str]
) -> None:
    reference, path = image
    other = Server()
    try:
        other.answers["/storage"] = server.answers[path]
        login(around, {"auths": {server.host: auth()}})
        manifest = server.answers["/v2/x/manifests/latest"]
        server.answers["/v2/x/manifests/latest"] = lambda headers: (
            manifest if "authorization" in headers else (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")
        )
        server.answers[path] = (307, {"Location": f"http://{other.host}/storage?signature=x"}, b"")
        open_image(reference, cache=False, surroundings=around).close()
        assert [headers.get("authorization") for each, headers in server.asked if each == path] != [None]
        assert [headers.get("authorization") for _, headers in other.asked] == [None]
    finally:
        other.server.shutdown()
        other.server.server_close()


@pytest.mark.parametrize("identity", [False, True])
def test_tokens(server: Server, image: tuple[str, str], identity: bool, around: Mapping[str, str]) -> None:
    """As Docker Hub has it: a challenge names a place that gives a token for name and password, or for a token."""
    reference, _ = image
    entry = {"identitytoken": "long-lived"} if identity else auth()
    login(around, {"auths": {server.host: entry}})
    challenge = f'Bearer realm="http://{server.host}/token",service="a service",scope="repository:x:pull"'
    for path, answer in list(server.answers.items()):
        server.answers[path] = lambda headers, answer=answer: (
            answer
            if headers.get("authorization") == "Bearer short-lived"
            else (401, {"WWW-Authenticate": challenge}, b"")
        )
    server.answers["/token"] = lambda headers: (
        (200, {}, b'{"access_token": "short-lived"}')
        if identity or headers.get("authorization") == f"Basic {entry['auth']}"
        else (401, {}, b"")
    )
    open_image(reference, cache=False, surroundings=around).close()
    asked = [path for path, _ in server.asked if path.startswith("/token")]
    assert asked == (["/token"] if identity else ["/token?scope=repository%3Ax%3Apull&service=a+service"])


def redirecting(server: Server, path: str) -> None:
    server.answers[path] = (307, {"Location": path}, b"")


def changed(server: Server, path: str) -> None:
    status, headers, data = server.answers[path]
    server.answers[path] = (status, headers, data[:-1] + bytes((data[-1] ^ 1,)))


def longer(server: Server, path: str) -> None:
    status, headers, data = server.answers[path]
    server.answers[path] = (status, headers, data + bytes(10))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (redirecting, "sends us on more than 5 times"),
        (changed, "its digest is sha256:|broken gzip data"),
        (longer, "is larger than the [0-9]* bytes that the manifest says"),
        (lambda server, path: server.answers.update({path: (403, {}, b"")}), r"does not let x be read .*\(403\)"),
        (lambda server, path: server.answers.update({path: (429, {}, b"")}), "too many requests"),
        (lambda server, path: server.answers.update({path: (503, {}, b"down")}), "answers 503 .*'down'"),
        (
            lambda server, path: server.answers.update({path: (302, {"Location": "file:///etc/passwd"}, b"")}),
            "no web address",
        ),
        (
            lambda server, path: server.answers.update({path: (302, {"Location": "http://192.0.2.1/x"}, b"")}),
            "without TLS; if that is meant: --plain-http",
        ),
    ],
)
def test_layers_that_cannot_be_had(
    server: Server, image: tuple[str, str], spoil: Any, said: str, around: Mapping[str, str]
) -> None:
    reference, path = image
    spoil(server, path)
    with pytest.raises(ImageError, match=said) as error:
        open_image(reference, cache=False, surroundings=around)
    assert "\n" not in str(error.value) and str(error.value).startswith(reference)


V2 = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("application/json", b"<html>", "is not JSON"),
        ("application/json", b"[]", "is no JSON object"),
        ("application/json", b"[" * 100_000, "is not JSON"),
        ("application/json", b'{"a": "' + b"x" * (5 << 20), "larger than 4 MB"),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", b"{}", "Docker's old schema 1"),
        ("text/html", b"{}", "unknown media type 'text/html'"),
        (V2, b"{}", "names no config"),
        (V2, b'{"config": {"digest": "sha256:../../x"}}', "expected a sha256 digest"),
        (V2, b'{"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"}}', "not a container image"),
        ("application/vnd.oci.image.index.v1+json", b'{"manifests": {}}', "names no manifests"),
        ("application/vnd.oci.image.index.v1+json", b'{"manifests": [{"digest": 5}]}', "expected a sha256 digest"),
    ],
)
def test_manifests_that_are_none(server: Server, kind: str, body: bytes, said: str, around: Mapping[str, str]) -> None:
    server.answers["/v2/x/manifests/latest"] = (200, {"Content-Type": kind}, body)
    with pytest.raises(ImageError, match=re.escape(said)):
        read_config(f"registry:{server.host}/x", surroundings=around)


def test_a_manifest_that_is_not_what_its_digest_says(server: Server, around: Mapping[str, str]) -> None:
    digest = "sha256:" + "1" * 64
    server.answers[f"/v2/x/manifests/{digest}"] = (200, {}, b"{}")
    with pytest.raises(ImageError, match="it is damaged or was changed"):
        read_config(f"registry:{server.host}/x@{digest}", surroundings=around)


def test_no_registry_there(around: Mapping[str, str]) -> None:
    with pytest.raises(ImageError, match=r"localhost:1 cannot be reached \(Connection refused\)"):
        read_config("registry:localhost:1/x", surroundings=around)


# -- as a user types it ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shelf(plain: Served, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """torch's image for two platforms with the labels of the first, as BuildKit pushes one, in the same registry."""
    folder = tmp_path_factory.mktemp("shelf")
    layers = (tree({**DEBIAN, "/usr/local/bin/python3": "\x7fELF"}), tree(TORCH))
    env = ["NVIDIA_VISIBLE_DEVICES=all", "PATH=/usr/local/bin:/usr/bin"]
    bare = Layout(folder / "bare")
    bare.image(layers, Env=env)
    done = gpucheck("image", f"oci:{bare.folder}", "--format", "labels", XDG_CACHE_HOME=str(folder))
    label = next(line for line in done.stdout.splitlines() if line.startswith("LABEL gpu-capable.contract="))
    contract = json.loads(label.partition("=")[2].replace("\\$", "$"))
    made = Layout(folder / "made")
    made.image(layers, Env=env, Labels={"gpu-capable.contract": contract})
    made.image((ARM,), architecture="arm64")
    push(plain, made, "team/torch", "1.0")
    return plain


def typed(around: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """The program as it is started, with nothing of this user's settings."""
    return gpucheck(*words, **{"XDG_CACHE_HOME": f"{around['HOME']}/cache", **around})


def test_an_image_in_a_plain_registry(shelf: Served, around: Mapping[str, str]) -> None:
    image = f"{shelf.host}/team/torch:1.0"
    done = typed(around, "image", image, "--platform", "linux/amd64")
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first.startswith(f"gpucheck image: {image}") and ", x86_64, " in first
    said = " ".join(" ".join(lines).split())
    for part in (
        "525.60.13 or newer: CUDA 12.6 (torch 2.7.1+cu126) starts",
        "Debian GNU/Linux 13 (trixie), glibc 2.41",
        "torch 2.7.1+cu126, built with CUDA 12.6",
        "gpu-capable.contract",
    ):
        assert part in said, done.stdout
    document = json.loads(typed(around, "image", f"registry:{image}", "--format", "json").stdout)
    assert (document["verdict"], [code["name"] for code in document["contract"]["code"]]) == ("compatible", ["torch"])


def test_its_labels_alone_pull_no_layer(shelf: Served, around: Mapping[str, str]) -> None:
    image = f"{shelf.host}/team/torch:1.0"
    asked = re.compile(r'"GET /v2/team/torch/blobs/')
    before = len(asked.findall(shelf.log.read_text()))
    done = typed(around, "image", image, "--labels-only")
    assert (done.returncode, done.stderr) == (0, "")
    assert "525.60.13 or newer: CUDA 12.6 (torch 2.7.1+cu126) starts" in " ".join(done.stdout.split())
    assert len(asked.findall(shelf.log.read_text())) - before == 1, "the config"
    none = typed(around, "image", f"{shelf.host}/team/one:v1", "--labels-only")
    assert (none.returncode, none.stderr) == (3, "")
    assert "the image has no label gpu-capable.contract" in " ".join(none.stdout.split())
    matrix = typed(around, "compat", image, "--node", "driver=450.80.02,gpu=A100", "--format", "json")
    assert (matrix.returncode, [cell["reasons"] for cell in json.loads(matrix.stdout)["cells"]]) == (
        1,
        [["driver-too-old"]],
    )


def test_a_platform_of_an_index(shelf: Served, around: Mapping[str, str]) -> None:
    image = f"{shelf.host}/team/torch:1.0"
    arm = typed(around, "image", image, "--platform", "linux/arm64")
    assert (arm.returncode, arm.stderr) == (0, "")
    assert ", aarch64, " in arm.stdout.splitlines()[0] and "nothing in it is for GPUs" in arm.stdout
    assert typed(around, "image", image, "--platform", "arm64", "--labels-only").returncode == 3
    none = typed(around, "image", image, "--platform", "linux/s390x")
    assert (none.returncode, none.stdout, none.stderr.count("\n")) == (2, "", 1)
    assert "there is no image for linux/s390x; there are: linux/amd64, linux/arm64" in none.stderr


@pytest.mark.parametrize("option", [(), ("--labels-only",)], ids=["whole", "labels"])
def test_tls_and_a_password_as_typed(
    shelf: Served, secure: Served, around: Mapping[str, str], option: tuple[str, ...]
) -> None:
    words = ("image", f"{secure.host}/team/torch:1.0", "--platform", "linux/amd64", *option)
    refused = typed(around, *words)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "its certificate is not trusted here" in refused.stderr
    unknown = typed(trusting(secure, around), *words)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.endswith(f"log in: docker login {secure.host}\n")
    login(around, {"auths": {secure.host: auth()}})
    done = typed(trusting(secure, around), *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "525.60.13 or newer" in done.stdout
    assert PASSWORD not in done.stdout
