"""HTTP to registries: TLS, proxies, redirects. What is sent to whom is decided here."""

from __future__ import annotations

import http.client
import ipaddress
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import IO, Any, Final
from urllib.parse import urljoin, urlsplit

from gpucheck import __version__
from gpucheck.images.records import ImageError

TIMEOUT: Final = 30.0
MAX_REDIRECTS: Final = 5
#: Certificates by host, as Docker has them: https://docs.docker.com/engine/security/certificates/
CERTIFICATES: Final = "/etc/docker/certs.d"


class Refused(ImageError):
    """No answer at all: the host is not there, or is not who it says."""


class Answer:
    """What a server answered; read it to its end or drop it."""

    def __init__(self, status: int, reason: str, headers: Any, body: IO[bytes]) -> None:
        self.status = status
        self.reason = reason
        self._headers = headers
        self._body = body

    def header(self, name: str) -> str:
        """'' when it is not there."""
        return str(self._headers.get(name) or "")

    def read(self, size: int) -> bytes:
        """At most so many bytes; empty at the end. Raises ``OSError`` and ``http.client.HTTPException``."""
        return self._body.read(size)

    def skip(self, size: int) -> None:
        """Pass over bytes."""
        while size > 0 and (piece := self.read(min(size, 1 << 20))):
            size -= len(piece)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Client:
    """Asks one registry, and those that it sends us to."""

    def __init__(self, host: str, around: Mapping[str, str], plain_http: bool) -> None:
        self._host = host
        self._plain = plain_http
        self._around = around
        self._scheme = "http" if plain_http else "https"
        self._openers: dict[str, urllib.request.OpenerDirector] = {}
        self._open: list[IO[bytes]] = []

    def get(self, path: str, headers: Mapping[str, str], form: bytes | None = None) -> Answer:
        """Ask for a path of the registry or a whole URL. Raises ``Refused``."""
        url = path if "://" in path else f"{self._scheme}://{self._host}{path}"
        sent = dict(headers)
        for _ in range(MAX_REDIRECTS):
            answer = self._once(url, sent, form)
            place = answer.header("Location")
            if answer.status not in (301, 302, 303, 307, 308) or not place:
                return answer
            following = urljoin(url, place)
            if urlsplit(following).netloc != urlsplit(url).netloc:
                # Storage behind a registry takes its right from the URL; our credentials are not for it.
                sent.pop("Authorization", None)
                form = None
            url = following
        raise Refused(f"{self._host} sends us on more than {MAX_REDIRECTS} times")

    def close(self) -> None:
        """Close what is open."""
        for body in self._open:
            body.close()

    def _once(self, url: str, headers: Mapping[str, str], form: bytes | None) -> Answer:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or not host:
            raise Refused(f"{self._host} sends us to {url[:100]!r}, which is no web address")
        if parts.scheme == "http" and not self._plain and not is_loopback(host):
            raise Refused(f"{self._host} sends us to {url[:100]!r} without TLS; if that is meant: --plain-http")
        request = urllib.request.Request(url, form, {"User-Agent": f"gpucheck/{__version__}", **headers})
        try:
            answer = self._opener(parts.netloc, host).open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            self._open.append(error)
            return Answer(error.code, str(error.reason), error.headers, error)
        except urllib.error.URLError as error:
            if self._speaks_plain_http(error.reason, parts.scheme, host):
                if parts.netloc == self._host:
                    self._scheme = "http"
                return self._once(f"http{url[len('https') :]}", headers, form)
            raise Refused(self._unreachable(parts.netloc, error.reason)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Refused(self._unreachable(parts.netloc, error)) from None
        self._open.append(answer)
        return Answer(answer.status, answer.reason, answer.headers, answer)

    def _speaks_plain_http(self, error: object, scheme: str, host: str) -> bool:
        """A registry on this machine is asked without TLS when it has none, as Docker does."""
        reasons = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING")
        return (
            scheme == "https"
            and is_loopback(host)
            and isinstance(error, ssl.SSLError)
            and any(reason in str(error.reason) for reason in reasons)
        )

    def _opener(self, netloc: str, host: str) -> urllib.request.OpenerDirector:
        if netloc not in self._openers:
            proxies: dict[str, str] | None = {} if is_loopback(host) else None
            self._openers[netloc] = urllib.request.build_opener(
                urllib.request.ProxyHandler(proxies),
                urllib.request.HTTPSHandler(context=self._context(netloc)),
                _NoRedirect,
            )
        return self._openers[netloc]

    def _context(self, netloc: str) -> ssl.SSLContext:
        file = self._around.get("SSL_CERT_FILE")
        try:
            context = ssl.create_default_context(cafile=file or None)
        except OSError as error:
            raise Refused(f"SSL_CERT_FILE={file}: {error.strerror or error}") from None
        folder = os.path.join(CERTIFICATES, netloc)
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            return context
        for name in names:
            path = os.path.join(folder, name)
            try:
                if name.endswith(".crt"):
                    context.load_verify_locations(path)
                elif name.endswith(".cert"):
                    context.load_cert_chain(path, f"{path[: -len('.cert')]}.key")
            except OSError as error:
                raise Refused(f"{path}: {error.strerror or error}") from None
        return context

    def _unreachable(self, netloc: str, error: object) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"{netloc}: its certificate is not trusted here ({error.verify_message}); put its CA into "
                f"{CERTIFICATES}/{netloc}/ca.crt or name it in SSL_CERT_FILE"
            )
        if isinstance(error, TimeoutError):
            return f"{netloc} gives no answer within {TIMEOUT:.0f} s; check the network, or the proxy (HTTPS_PROXY)"
        why = getattr(error, "strerror", None) or str(error)
        return f"{netloc} cannot be reached ({why}); check the name, the network, or the proxy (HTTPS_PROXY)"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
