"""Images in a registry: https://github.com/opencontainers/distribution-spec/blob/main/spec.md"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlencode

from gpucheck.images.credentials import Credentials, find_credentials
from gpucheck.images.http import Answer, Client, Refused
from gpucheck.images.manifest import (
    INDEXES,
    MANIFESTS,
    MAX_JSON,
    Platform,
    config_digest,
    describe,
    find_manifest,
    parse_object,
    sha256,
)
from gpucheck.images.records import Described, ImageError, Layer
from gpucheck.images.reference import DOCKER_HUB, Name
from gpucheck.images.source import PIECE

#: docker.io is no registry itself.
HUB_HOST: Final = "registry-1.docker.io"
ATTEMPTS: Final = 5
MAX_TOKEN: Final = 1 << 20


class Registry:
    """An image by its name; needs no engine."""

    def __init__(
        self,
        name: Name,
        reference: str,
        platform: Platform | None,
        around: Mapping[str, str],
        plain_http: bool = False,
        note: str = "",
    ) -> None:
        self._name = name
        self._reference = reference
        self._platform = platform
        self._around = around
        self._note = note
        self._host = HUB_HOST if name.registry == DOCKER_HUB else name.registry
        self._client = Client(self._host, around, plain_http)
        self._authorization = ""
        self._credentials: Credentials | None = None
        self._asked = False

    def describe(self) -> Described:
        data, kind = self._manifest(self._name.version)
        manifest = find_manifest(
            data, kind, self._platform, lambda digest: self._manifest(digest)[0], self._name.digest
        )
        digest = config_digest(manifest.document)
        answer = self._get(f"blobs/{digest}")
        config = answer.read(MAX_JSON + 1)
        if len(config) <= MAX_JSON and sha256(config) != digest:
            raise ImageError(f"the config {digest} is {sha256(config)}: it is damaged or was changed")
        return describe(self._reference, manifest, config, self._platform)

    def layer(self, layer: Layer) -> Iterator[bytes]:
        """The bytes of a layer; where the connection drops, it is taken up again where it was."""
        done = 0
        failed = 0
        while True:
            try:
                answer = self._get(f"blobs/{layer.digest}", {"Range": f"bytes={done}-"} if done else {})
                if done and answer.status != 206:
                    answer.skip(done)
                while piece := answer.read(PIECE):
                    done += len(piece)
                    failed = 0
                    yield piece
                if layer.size is None or done >= layer.size:
                    return
                raise http.client.IncompleteRead(b"")
            except (OSError, http.client.HTTPException) as error:
                failed += 1
                if failed >= ATTEMPTS:
                    raise ImageError(
                        f"{self._host} stopped sending after {done} bytes ({_why(error)}); try again"
                    ) from None

    def close(self) -> None:
        self._client.close()

    def _manifest(self, version: str) -> tuple[bytes, str]:
        answer = self._get(f"manifests/{version}", {"Accept": ", ".join((*MANIFESTS, *INDEXES))})
        data = answer.read(MAX_JSON + 1)
        said = version if ":" in version else answer.header("Docker-Content-Digest")
        if len(data) <= MAX_JSON and said.startswith("sha256:") and sha256(data) != said:
            raise ImageError(f"the manifest {said} is {sha256(data)}: it is damaged or was changed")
        return data, answer.header("Content-Type")

    def _get(self, what: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask; when the registry wants to know who asks, tell it and ask again. Raises ``ImageError``."""
        path = f"/v2/{self._name.repository}/{what}"
        try:
            for attempt in (1, 2):
                authorized = {"Authorization": self._authorization} if self._authorization else {}
                answer = self._client.get(path, {**(headers or {}), **authorized})
                if answer.status in (200, 206):
                    return answer
                challenge = answer.header("WWW-Authenticate")
                if answer.status != 401 or not challenge or attempt == 2:
                    break
                self._authorization = self._authorize(challenge)
        except Refused as error:
            raise ImageError(f"{error}{self._note}") from None
        raise ImageError(self._refusal(answer) + self._note)

    def _refusal(self, answer: Answer) -> str:
        name, host, status = self._name, self._name.registry, answer.status
        login = "" if host == DOCKER_HUB else f" {host}"
        who = f"as given by {self._credentials.source}" if self._credentials else "without credentials"
        if status in (401, 403):
            return f"{host} does not let {name.repository} be read {who} ({status}); log in: docker login{login}"
        if status == 404:
            hint = "" if self._credentials else f"; if it is private: docker login{login}"
            return f"{host} has no {name.repository}{f'@{name.digest}' if name.digest else f':{name.tag}'}{hint}"
        if status == 429:
            return f"{host} has had too many requests (429); wait, or log in: docker login{login}"
        return f"{host} answers {status} {answer.reason}: {answer.read(200).decode(errors='replace').strip()!r}"

    def _authorize(self, challenge: str) -> str:
        """The Authorization header that a challenge asks for: https://distribution.github.io/distribution/spec/auth/token/"""
        if not self._asked:
            self._credentials, self._asked = find_credentials(self._name, self._around), True
        known = self._credentials
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            return known.basic if known and not known.token else ""
        if scheme.lower() != "bearer":
            raise ImageError(
                f"{self._name.registry} asks for a log-in of the kind {scheme[:40]!r}, which is not known here"
            )
        said = {key.lower(): value for key, value in re.findall(r'(\w+)="([^"]*)"', rest)}
        realm = said.get("realm", "")
        if not re.match(r"https?://", realm):
            raise ImageError(f"{self._name.registry} names no place to log in: {challenge[:100]!r}")
        values = {"scope": said.get("scope") or f"repository:{self._name.repository}:pull"}
        if said.get("service"):
            values["service"] = said["service"]
        if known and known.token:
            form = {**values, "grant_type": "refresh_token", "refresh_token": known.token, "client_id": "gpucheck"}
            answer = self._client.get(realm, {}, urlencode(form).encode())
        else:
            headers = {"Authorization": known.basic} if known else {}
            answer = self._client.get(f"{realm}{'&' if '?' in realm else '?'}{urlencode(values)}", headers)
        if answer.status != 200:
            raise ImageError(self._refusal(answer))
        document = parse_object(answer.read(MAX_TOKEN), f"the token of {realm[:100]}")
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise ImageError(f"{realm[:100]} gave no token")
        return f"Bearer {token}"


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or (
        "the connection ended" if isinstance(error, http.client.IncompleteRead) else str(error)
    )
