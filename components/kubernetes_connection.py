"""A connection to the Kubernetes API: credentials, time limits, repetition, and errors.

An API server that is away, as during an upgrade of the control plane, is asked again
(segmentor/retrying.py).
"""

import copy
import json
import logging
import math
import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes
import urllib3
from kubernetes.client.exceptions import ApiException

from segmentor.errors import DeployError
from segmentor.retrying import NetworkRetry, attempt_timeout, failure_name

logger = logging.getLogger(__name__)

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_CREDENTIALS = "check the service account's token, or the kubeconfig"


@dataclass(frozen=True)
class Caller:
    """Who asks the API server, and what helps when it refuses.

    `field_manager`: the owner of the fields that are applied; kubectl owns those of manifests/.
    `remedies`: what to do, by HTTP status. `without`: how to do without a cluster.
    """

    field_manager: str
    remedies: Mapping[int, str]
    without: str


class ForbiddenError(DeployError):
    """The Role does not grant a right, or an admission webhook denies the request."""


class MissingError(DeployError):
    """There is no object of this name, or no such kind."""


class ExistsError(DeployError):
    """There is an object of this name already."""


class Connection:
    """A connection to one API server.

    Attributes:
        caller: Who asks.
        api: The client that asks again.
        watching: The client that asks once: a watch that is repeated would outlast its time.
    """

    def __init__(self, caller: Caller) -> None:
        """Use the pod's own service account, or else the kubeconfig.

        Raises:
            DeployError: there is neither.
        """
        self.caller = caller
        configuration = kubernetes.client.Configuration()
        try:
            if os.environ.get("KUBERNETES_SERVICE_HOST"):
                kubernetes.config.load_incluster_config(client_configuration=configuration)
            else:
                # The library reads the variable only once, when it is imported.
                kubernetes.config.load_kube_config(
                    os.environ.get("KUBECONFIG"), client_configuration=configuration
                )
        except kubernetes.config.ConfigException as error:
            raise DeployError(
                "cluster",
                f"no access ({error})",
                "a pod's service account, or a kubeconfig",
                f"set KUBECONFIG, or {caller.without}",
            ) from error
        configuration.retries = NetworkRetry.from_environment()
        self._timeout = attempt_timeout()
        self.api = kubernetes.client.ApiClient(configuration)
        # A watch that urllib3 repeats would outlast the time it was given.
        once = copy.deepcopy(configuration)
        once.retries = False
        self.watching = kubernetes.client.ApiClient(once)

    @property
    def namespace(self) -> str:
        """Return the namespace of this pod, or else the kubeconfig's."""
        if _NAMESPACE.is_file():
            return _NAMESPACE.read_text(encoding="utf-8").strip()
        _, active = kubernetes.config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
        return str(active["context"].get("namespace", "default"))

    def call(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Any = None,
        media_type: str = "application/apply-patch+yaml",  # JSON is YAML
    ) -> Any:
        """Send a request; return what the JSON of the reply says.

        Raises:
            ApiException: the API server refuses; see `refusal`.
            DeployError: it does not answer.
        """
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = media_type
        try:
            return self.api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=self.limits(),
            )
        except urllib3.exceptions.HTTPError as error:
            raise DeployError(
                "cluster",
                f"no answer from {self.api.configuration.host} ({failure_name(error)})",
                "a reachable API server",
                "check the kubeconfig and the network",
            ) from error

    def events(
        self,
        function: Callable[..., Any],
        arguments: tuple[str, ...],
        selector: dict[str, str],
        version: str,
        seconds: float,
    ) -> Generator[dict[str, Any], None, None]:
        """Yield the events of a watch until it ends, times out or breaks off."""
        events = kubernetes.watch.Watch().stream(
            function,
            *arguments,
            **selector,
            resource_version=version,
            timeout_seconds=math.ceil(seconds),
            # The server counts whole seconds, and is silent until something changes.
            _request_timeout=(seconds, seconds),
        )
        try:
            yield from events
        except (urllib3.exceptions.HTTPError, ValueError, KeyError) as error:
            # Broken off, timed out, or not a line of JSON.
            logger.debug("watch ended error=%r", error)
        finally:
            events.close()

    def refusal(self, path: str, error: ApiException) -> DeployError:
        """Return our own error for what the API server refused."""
        try:
            message = json.loads(error.body)["message"]
        except (ValueError, KeyError, TypeError):
            message = error.reason
        status = error.status or 0
        remedy = {401: _CREDENTIALS, **self.caller.remedies}.get(status, "")
        kind = {403: ForbiddenError, 404: MissingError, 409: ExistsError}.get(status, DeployError)
        return kind(path, f"HTTP {status} from the API server ({message})", remedy=remedy)

    def limits(self) -> tuple[Any, Any]:
        """Return how long a request may take to connect, and then to be answered."""
        return self._timeout.connect_timeout, self._timeout.read_timeout
