"""Who asks a registry: what ``docker login`` and ``podman login`` left, and credential helpers.

https://docs.docker.com/reference/cli/docker/login/, containers-auth.json(5), https://github.com/docker/docker-credential-helpers
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gpucheck.images.records import ImageError
from gpucheck.images.reference import DOCKER_HUB, Name
from gpucheck.record import dataclass

#: The name of Docker Hub in these files.
HUB_KEY: Final = "https://index.docker.io/v1/"
MAX_FILE: Final = 4 << 20
HELPER_TIMEOUT: Final = 30.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a password, or a token that stands for both."""

    user: str
    password: str
    token: str
    """An identity token (OAuth 2 refresh token); '' where there is none."""
    source: str

    @property
    def basic(self) -> str:
        """The value of the Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def find_credentials(name: Name, around: Mapping[str, str]) -> Credentials | None:
    """Those for an image's repository; None to ask without any. Raises ``ImageError`` for a helper that does not work."""
    for path in _files(around):
        document = _read(path)
        if document is None:
            continue
        keys = _keys(name)
        helpers = document.get("credHelpers")
        for key in keys:
            if isinstance(helpers, dict) and isinstance(helpers.get(key), str):
                return _ask(helpers[key], key, around)
        auths = document.get("auths")
        for key in keys:
            entry = auths.get(key) if isinstance(auths, dict) else None
            if isinstance(entry, dict) and (found := _entry(entry, path)) is not None:
                return found
        store = document.get("credsStore")
        if isinstance(store, str) and store:
            for key in (HUB_KEY,) if name.registry == DOCKER_HUB else (name.registry, f"https://{name.registry}"):
                if (found := _ask(store, key, around)) is not None:
                    return found
    return None


def _files(around: Mapping[str, str]) -> Iterator[str]:
    home = around.get("HOME", "")
    if around.get("REGISTRY_AUTH_FILE"):
        yield around["REGISTRY_AUTH_FILE"]
    if around.get("DOCKER_CONFIG"):
        yield os.path.join(around["DOCKER_CONFIG"], "config.json")
    elif home:
        yield os.path.join(home, ".docker/config.json")
    if around.get("XDG_RUNTIME_DIR"):
        yield os.path.join(around["XDG_RUNTIME_DIR"], "containers/auth.json")
    if home:
        yield os.path.join(around.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers/auth.json")


def _read(path: str) -> Mapping[str, Any] | None:
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read(MAX_FILE))
    except OSError:
        return None
    except (ValueError, RecursionError):
        raise ImageError(
            f"{path}: is not JSON; it holds the credentials of registries: docker login writes it"
        ) from None
    return document if isinstance(document, dict) else None


def _keys(name: Name) -> tuple[str, ...]:
    """The names under which these files may have a registry, the most exact first."""
    host = name.registry
    parts = name.repository.split("/")
    below = [f"{host}/{'/'.join(parts[:count])}" for count in range(len(parts), 0, -1)]
    hub = [HUB_KEY, "index.docker.io", "https://index.docker.io/v1"] if host == DOCKER_HUB else []
    return (*below, host, f"https://{host}", f"https://{host}/", f"https://{host}/v1/", f"https://{host}/v2/", *hub)


def _entry(entry: Mapping[str, Any], path: str) -> Credentials | None:
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Credentials("", "", token, path)
    auth = entry.get("auth")
    if not isinstance(auth, str) or not auth:
        return None
    try:
        user, colon, password = base64.b64decode(auth).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if not colon:
        raise ImageError(f"{path}: has credentials that cannot be read; log in again: docker login")
    return Credentials(user, password.rstrip("\0"), "", path)


def _ask(helper: str, server: str, around: Mapping[str, str]) -> Credentials | None:
    """Run a credential helper: it gets the server's name, and answers with JSON."""
    program = f"docker-credential-{helper}"
    if not re.fullmatch(r"[\w.-]+", helper):
        raise ImageError(f"credential helper {helper!r}: not the name of a program")
    try:
        ran = subprocess.run(
            [program, "get"],
            check=False,
            input=server,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=HELPER_TIMEOUT,
            env=dict(around),
        )
    except subprocess.TimeoutExpired:
        raise ImageError(f"{program} gave no answer within {HELPER_TIMEOUT:.0f} s") from None
    except OSError as error:
        raise ImageError(
            f"{program}: {error.strerror}; the file of docker login names it: install it, or log in without it"
        ) from None
    said = (ran.stdout + ran.stderr).strip()
    if ran.returncode:
        # The protocol's words for nothing stored.
        if "credentials not found" in said.lower():
            return None
        raise ImageError(f"{program} failed: {said.splitlines()[0][:200] if said else f'status {ran.returncode}'}")
    try:
        answer = json.loads(ran.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ImageError(f"{program} did not answer as a credential helper does") from None
    return Credentials("", "", secret, program) if user == "<token>" else Credentials(user, secret, "", program)
