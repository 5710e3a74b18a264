"""Images of a Docker Engine (or Podman's service), through its API: https://docs.docker.com/reference/api/engine/"""

from __future__ import annotations

import errno
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from gpucheck.images.manifest import MAX_JSON, Platform, describe, parse_list, parse_object
from gpucheck.images.records import Described, ImageError
from gpucheck.images.source import PIECE
from gpucheck.images.stream import layers_of

SOCKET: Final = "/var/run/docker.sock"
#: Seconds for an answer about an image, and for the first byte of the image itself: 20.10 writes all of it to disk before.
TIMEOUT: Final = 30.0
TIMEOUT_IMAGE: Final = 1800.0


class Engine:
    """An image by its name or id in the engine that DOCKER_HOST names."""

    def __init__(self, name: str, reference: str, platform: Platform | None, around: Mapping[str, str]) -> None:
        self._name = name
        self._reference = reference
        self._platform = platform
        self._host = around.get("DOCKER_HOST") or f"unix://{SOCKET}"
        self._answers: list[http.client.HTTPConnection] = []
        self.trouble = ""
        """Why the engine could not be asked by ``has_image``."""

    def has_image(self) -> bool:
        """Whether it can be asked and has the image for the platform."""
        try:
            self.describe()
        except ImageError as error:
            if not str(error).startswith("the engine has no image"):
                self.trouble = str(error)
            return False
        return True

    def describe(self) -> Described:
        name = quote(self._name, safe="/:@")
        said = parse_object(self._small(f"/images/{name}/json"), "what the engine says of the image")
        # The config's history is not in it: of what the engine tells instead, steps without a layer are those of no size.
        steps = parse_list(self._small(f"/images/{name}/history"), "what the engine says of the image's history")
        rows = [row for row in reversed(steps) if isinstance(row, dict) and row.get("Size")]
        layers = said.get("RootFS")
        document = {
            "architecture": said.get("Architecture"),
            "os": said.get("Os"),
            "variant": said.get("Variant"),
            "config": said.get("Config"),
            "rootfs": {"diff_ids": layers.get("Layers") or [] if isinstance(layers, dict) else None},
            "history": [{"created_by": row.get("CreatedBy")} for row in rows],
        }
        config = json.dumps(document).encode()
        return describe(self._reference, None, config, self._platform, str(said.get("Id") or ""))

    def layers(self) -> Iterator[Iterator[bytes]]:
        answer = self._get(f"/images/{quote(self._name, safe='/:@')}/get", TIMEOUT_IMAGE)
        return layers_of(self._pieces(answer))

    def close(self) -> None:
        for connection in self._answers:
            connection.close()

    def _pieces(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            while piece := answer.read(PIECE):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise ImageError(f"the engine stopped sending the image ({error}); try again") from None

    def _small(self, path: str) -> bytes:
        answer = self._get(path, TIMEOUT)
        try:
            return answer.read(MAX_JSON + 1)
        except (OSError, http.client.HTTPException) as error:
            raise ImageError(f"the engine stopped answering ({error}); try again") from None

    def _get(self, path: str, timeout: float) -> http.client.HTTPResponse:
        connection = self._connection(timeout)
        self._answers.append(connection)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
        except OSError as error:
            raise ImageError(self._unreachable(error)) from None
        except http.client.HTTPException as error:
            raise ImageError(f"{self._host} does not answer as a Docker Engine does ({error!r:.100})") from None
        if answer.status == 404:
            raise ImageError(
                f"the engine has no image {self._name}; see: docker images, or pull it, or name it registry:{self._name}"
            )
        if answer.status != 200:
            said = answer.read(4096)
            raise ImageError(f"the engine refuses with {answer.status}: {_message(said)}")
        return answer

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        scheme, _, place = self._host.partition("://")
        if scheme == "unix":
            return _Local(place, timeout)
        if scheme in ("tcp", "http"):
            return http.client.HTTPConnection(place.rstrip("/"), timeout=timeout)
        raise ImageError(
            f"DOCKER_HOST={self._host}: only unix:// and tcp:// are spoken here; save the image there: docker save NAME -o FILE"
        )

    def _unreachable(self, error: OSError) -> str:
        if error.errno in (errno.EACCES, errno.EPERM):
            return (
                f"no permission to ask the engine at {self._host}; join the group docker (sudo usermod -aG docker $USER), "
                f"or name the image in its registry: registry:{self._name}"
            )
        why = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
        return (
            f"no Docker Engine answers at {self._host} ({why}); start it, or name the image in its registry: "
            f"registry:{self._name}"
        )


class _Local(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


def _message(said: bytes) -> str:
    try:
        document: Any = json.loads(said)
        return str(document["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return said.decode(errors="replace").strip()[:300]
