"""The Kubernetes API as this step needs it: get, watch, server-side apply, pods, events, logs."""

import copy
import json
import logging
import math
import os
import time
from typing import Any

import kubernetes
import urllib3
from kubernetes.client.exceptions import ApiException

from segmentor.errors import DeployError

logger = logging.getLogger(__name__)

# Who owns the fields that this step applies; kubectl owns those of manifests/.
FIELD_MANAGER = "segmentor-deploy"
REQUEST_SECONDS = 30
# Between a watch that broke off and the next look: a server that ends them all is not hammered.
RECONNECT_SECONDS = 0.5
GONE = 410

_REMEDIES = {
    401: "check the service account's token, or the kubeconfig",
    403: "bind the Role segmentor-deployer to the pipeline's service account (manifests/base)",
    404: "install KServe, and make the namespace",
    422: "the manifest does not fit this KServe's CRDs",
}


class ApiAwayError(DeployError):
    """The API server does not answer, or says that it cannot now."""


class Cluster:
    """A connection to one API server. Every failure is a DeployError."""

    def __init__(self) -> None:
        """Takes the pod's own service account, or else the kubeconfig.

        Raises:
            DeployError: there is neither.
        """
        configuration = kubernetes.client.Configuration()
        try:
            if os.environ.get("KUBERNETES_SERVICE_HOST"):
                kubernetes.config.load_incluster_config(client_configuration=configuration)
            else:
                # Named here: the library reads the variable when it is imported, and never again.
                kubernetes.config.load_kube_config(
                    os.environ.get("KUBECONFIG"), client_configuration=configuration
                )
        except kubernetes.config.ConfigException as error:
            raise DeployError(
                "cluster",
                f"no access ({error})",
                "a pod's service account, or a kubeconfig",
                "set KUBECONFIG, or run with --apply false",
            ) from error
        configuration.retries = urllib3.Retry(total=3, backoff_factor=0.5)
        self._api = kubernetes.client.ApiClient(configuration)
        # A watch that is repeated by itself would outlast the time it was given.
        once = copy.deepcopy(configuration)
        once.retries = False
        self._watching = kubernetes.client.ApiClient(once)

    def get(self, path: str) -> dict[str, Any] | None:
        """Returns an object, or None when there is none."""
        try:
            return self._call("GET", path)
        except ApiException as error:
            if error.status == 404:
                return None
            raise _translated(path, error) from error

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """Returns the items of a list."""
        try:
            listed = self._call("GET", path, query)
        except ApiException as error:
            raise _translated(path, error) from error
        return list(listed.get("items", []))

    def wait_for_change(self, manifest: dict[str, Any], version: str, seconds: float) -> None:
        """Returns once an object is no longer as it was, or after `seconds`; never raises.

        A watch is only a quicker way to look again: one that is refused, expired (410), or broken
        off ends the waiting early, and the caller reads the object anew.

        Args:
            manifest: The object, or any manifest of it.
            version: Its `resourceVersion` as it was read; '' when it was not there.
            seconds: How long to wait at most.
        """
        deadline = time.monotonic() + seconds
        pause = self._watch(manifest, version, seconds) if version else seconds
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))

    def _watch(self, manifest: dict[str, Any], version: str, seconds: float) -> float:
        """Returns how long to pause before the next look; 0 when there was a change."""
        group, api_version = manifest["apiVersion"].split("/")
        metadata = manifest["metadata"]
        events = kubernetes.watch.Watch().stream(
            kubernetes.client.CustomObjectsApi(self._watching).list_namespaced_custom_object,
            group,
            api_version,
            metadata["namespace"],
            f"{manifest['kind'].lower()}s",
            field_selector=f"metadata.name={metadata['name']}",
            resource_version=version,
            timeout_seconds=math.ceil(seconds),
            # The server counts whole seconds, and says nothing while nothing happens.
            _request_timeout=(seconds, seconds),
        )
        try:
            for _event in events:
                return 0.0
        except ApiException as error:
            # 410: the version is forgotten, so what is there now is newer.
            return 0.0 if error.status == GONE else seconds
        except (urllib3.exceptions.HTTPError, ValueError, KeyError) as error:
            # Broken off, out of time, or no line of JSON.
            logger.debug("watch ended error=%r", error)
        finally:
            events.close()
        return RECONNECT_SECONDS

    def log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """Returns the end of a container's log; '' while it has none."""
        try:
            return kubernetes.client.CoreV1Api(self._api).read_namespaced_pod_log(
                pod,
                namespace,
                container=container,
                tail_lines=lines,
                _request_timeout=REQUEST_SECONDS,
            )
        except (ApiException, urllib3.exceptions.HTTPError):
            return ""

    def apply(self, manifest: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
        """Applies a manifest server-side and returns the live object.

        Fields of the manifest that another manager holds are taken over: which version is served
        is this step's to decide. Fields that the manifest does not name stay as they are.

        Args:
            manifest: What to apply.
            dry_run: Everything is asked (rights, schema, webhooks), and nothing is kept.

        Raises:
            DeployError: the API server or an admission webhook refuses.
        """
        path = object_path(manifest)
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        try:
            return self._call("PATCH", path, query, manifest)
        except ApiException as error:
            raise _translated(path, error) from error

    def _call(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/apply-patch+yaml"  # JSON is YAML
        try:
            return self._api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=REQUEST_SECONDS,
            )
        except urllib3.exceptions.HTTPError as error:
            raise ApiAwayError(
                "cluster",
                f"no answer from {self._api.configuration.host} ({type(error).__name__})",
                "a reachable API server",
                "check the kubeconfig and the network",
            ) from error


def object_path(manifest: dict[str, Any]) -> str:
    """Returns the path of an object of one of KServe's kinds."""
    return (
        f"/apis/{manifest['apiVersion']}/namespaces/{manifest['metadata']['namespace']}"
        f"/{manifest['kind'].lower()}s/{manifest['metadata']['name']}"
    )


def _translated(path: str, error: ApiException) -> DeployError:
    try:
        message = json.loads(error.body)["message"]
    except (ValueError, KeyError, TypeError):
        message = error.reason
    status = error.status or 0
    kind = ApiAwayError if status == 429 or status >= 500 else DeployError
    return kind(
        path,
        f"HTTP {error.status} from the API server ({message})",
        remedy=_REMEDIES.get(error.status, ""),
    )
