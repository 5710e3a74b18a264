"""The few calls to the Kubernetes API that publishing takes, and their failures as one line each."""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from gpucheck.cluster.status import CONDITION, HEARTBEAT, NodeStatus, change_labels, one_line, renew_condition
from gpucheck.record import dataclass

#: Seconds for connecting and for each read.
TIMEOUT = 10.0


class NotPublished(Exception):
    """The cluster did not take it: unreachable, refused, no such node. One line; a later attempt may succeed."""


class NoCluster(Exception):
    """There is nothing that says where the cluster is, or no client to talk to it. One line; no use in trying again."""


class Nodes(Protocol):
    """Reading and patching Node objects. Methods raise ``NotPublished``."""

    def read(self, name: str) -> Mapping[str, Any]:
        """The Node as JSON."""
        ...

    def patch(self, name: str, change: Mapping[str, Any], *, status: bool) -> None:
        """Strategic merge patch of the Node, or of its status."""
        ...


@dataclass(frozen=True, slots=True)
class Published:
    """What was written."""

    labels: Mapping[str, str | None]
    """None: removed. Empty: all was there already."""
    condition: bool


def publish(status: NodeStatus, node: str, nodes: Nodes, now: datetime, heartbeat: timedelta = HEARTBEAT) -> Published:
    """Make a Node show ``status``, writing only what differs. Raises ``NotPublished``."""
    found = nodes.read(node)
    labels = change_labels(status.labels, found["metadata"].get("labels") or {})
    if labels:
        nodes.patch(node, {"metadata": {"labels": labels}}, status=False)
    conditions = (found.get("status") or {}).get("conditions") or []
    present = next((each for each in conditions if each.get("type") == CONDITION), None)
    condition = renew_condition(status.condition, present, now, heartbeat)
    if condition:
        # A strategic merge patch merges conditions by their type, so the others stay as they are, whatever they are by then.
        nodes.patch(node, {"status": {"conditions": [condition]}}, status=True)
    return Published(labels, condition is not None)


class Cluster:
    """``Nodes`` of a real cluster: of the pod's ServiceAccount, else of KUBECONFIG."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Raises ``NoCluster``."""
        try:
            from kubernetes import client, config
        except ImportError:
            raise NoCluster("the Kubernetes client is not installed: pip install 'gpu-capable[kubernetes]'") from None
        settings = client.Configuration()
        access: Any = config  # untyped in some releases
        try:
            if environment.get("KUBERNETES_SERVICE_HOST") and not environment.get("KUBECONFIG"):
                access.load_incluster_config(client_configuration=settings)
            else:
                # Given, because the client looks KUBECONFIG up in the process's environment, once, when it is imported.
                access.load_kube_config(environment.get("KUBECONFIG") or None, client_configuration=settings)
        except config.ConfigException as error:
            raise NoCluster(
                f"no cluster: {_one_line(str(error))} Run in a pod with a ServiceAccount, or set KUBECONFIG"
            ) from None
        except OSError as error:
            raise NoCluster(f"no cluster: {error.filename}: {error.strerror}") from None
        connection = client.ApiClient(settings)
        if settings.verify_ssl:
            _accept_old_authority(connection.rest_client.pool_manager.connection_pool_kw)
        self._nodes: Any = client.CoreV1Api(connection)
        self._server = settings.host

    def read(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._call("read node", name, self._nodes.read_node)
        return found

    def patch(self, name: str, change: Mapping[str, Any], *, status: bool) -> None:
        call = self._nodes.patch_node_status if status else self._nodes.patch_node
        # The client sends a dict as a strategic merge patch in all its releases; only some let that be said.
        self._call("patch the status of node" if status else "patch node", name, call, body=change)

    def _call(self, what: str, name: str, call: Any, **arguments: Any) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            # The body as it came: models refuse what an older or newer API server says differently.
            response = call(name=name, _preload_content=False, _request_timeout=(TIMEOUT, TIMEOUT), **arguments)
            code, data = response.status, response.data
        except ApiException as error:
            code, data = error.status, error.body or error.reason or ""
        except (HTTPError, OSError) as error:
            raise NotPublished(f"cannot reach {self._server}: {_reason(error)}") from None
        if code == 0:
            raise NotPublished(f"cannot reach {self._server}: {_one_line(data)}")
        if code >= 300:
            raise NotPublished(f"{self._server} refused to {what} {name} ({code}): {_complaint(data)}")
        return json.loads(data)


def _accept_old_authority(options: dict[str, Any]) -> None:
    """Check the server's certificate and name, but not which extensions the CA's own certificate has.

    Python 3.13 asks for those of RFC 5280 by default. The CAs of older EKS and MicroK8s clusters lack them, and kubectl
    takes these: kubernetes-client/python#2394, https://docs.python.org/3/library/ssl.html#ssl.create_default_context
    """
    from urllib3.util import create_urllib3_context

    context = create_urllib3_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not (options.get("ca_certs") or options.get("ca_cert_data")):
        context.load_default_certs()
    options["ssl_context"] = context


def _complaint(data: str | bytes) -> str:
    """The message of a Status object (kind: Status in the API), else the first line of whatever answered."""
    text = data.decode(errors="replace") if isinstance(data, bytes) else data
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return _one_line(text) or "no reason given"


def _reason(error: Exception) -> str:
    """The innermost cause, without the connection that urllib3 begins with: ``HTTPSConnection(host=..., port=...): ``."""
    inner = getattr(error, "reason", None) or error
    return re.sub(r"^(<.*?>|\w+\(.*?\)): ", "", _one_line(str(inner)))


def _one_line(text: str) -> str:
    return one_line(text, 300)
