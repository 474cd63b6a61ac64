"""The Kubernetes API as this step needs it: get, server-side apply, pods, events, logs."""

import json
import os
from typing import Any

import kubernetes
import urllib3
from kubernetes.client.exceptions import ApiException

from segmentor.errors import DeployError

# Who owns the fields that this step applies; kubectl owns those of manifests/.
FIELD_MANAGER = "segmentor-deploy"
REQUEST_SECONDS = 30

_REMEDIES = {
    401: "check the service account's token, or the kubeconfig",
    403: "bind the Role segmentor-deployer to the pipeline's service account (manifests/base)",
    404: "install KServe, and make the namespace",
    422: "the manifest does not fit this KServe's CRDs",
}


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
        except ApiException:
            return ""

    def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Applies a manifest server-side and returns the live object.

        Fields of the manifest that another manager holds are taken over: which version is served
        is this step's to decide. Fields that the manifest does not name stay as they are.

        Raises:
            DeployError: the API server or an admission webhook refuses.
        """
        path = object_path(manifest)
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
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
            raise DeployError(
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
    return DeployError(
        path,
        f"HTTP {error.status} from the API server ({message})",
        remedy=_REMEDIES.get(error.status, ""),
    )
