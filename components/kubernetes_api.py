"""The Kubernetes API as steps need it: get, watch, create, delete, apply, pods, events, logs."""

import time
from collections.abc import Iterator
from typing import Any

import kubernetes
import urllib3
from kubernetes.client.exceptions import ApiException

from components.kubernetes_connection import Caller, Connection

# Pause between a watch that broke off and the next look, so as not to hammer a server that ends
# all of them.
RECONNECT_SECONDS = 0.5
GONE = 410


class Cluster:
    """What steps ask of one API server. Every failure is a DeployError."""

    def __init__(self, caller: Caller) -> None:
        """Connect by the pod's own service account, or else the kubeconfig.

        Raises:
            DeployError: there is neither.
        """
        self._server = Connection(caller)

    @property
    def namespace(self) -> str:
        """Return the namespace of this pod, or else the kubeconfig's."""
        return self._server.namespace

    def get(self, path: str) -> dict[str, Any] | None:
        """Return an object, or None if it does not exist."""
        try:
            found: dict[str, Any] = self._server.call("GET", path)
            return found
        except ApiException as error:
            if error.status == 404:
                return None
            raise self._server.refusal(path, error) from error

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """Return the items of a list."""
        try:
            listed = self._server.call("GET", path, query)
        except ApiException as error:
            raise self._server.refusal(path, error) from error
        return list(listed.get("items", []))

    def wait_for_change(self, manifest: dict[str, Any], version: str, seconds: float) -> None:
        """Return once an object has changed, or after `seconds`; never raise.

        A watch only makes the next look come sooner: if it is refused, has expired (410) or breaks
        off, the waiting ends early, and the caller reads the object again.

        Args:
            manifest: The object, or any manifest of it.
            version: Its `resourceVersion` as it was read; '' if it did not exist.
            seconds: How long to wait at most.
        """
        deadline = time.monotonic() + seconds
        pause = self._watch(manifest, version, seconds) if version else seconds
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))

    def _watch(self, manifest: dict[str, Any], version: str, seconds: float) -> float:
        """Return how long to pause before the next look; 0 if there was a change."""
        group, api_version = manifest["apiVersion"].split("/")
        metadata = manifest["metadata"]
        events = self._server.events(
            kubernetes.client.CustomObjectsApi(self._server.watching).list_namespaced_custom_object,
            (group, api_version, metadata["namespace"], f"{manifest['kind'].lower()}s"),
            {"field_selector": f"metadata.name={metadata['name']}"},
            version,
            seconds,
        )
        try:
            for _event in events:
                return 0.0
        except ApiException as error:
            # 410: the server no longer knows the version, so the object has changed.
            return 0.0 if error.status == GONE else seconds
        finally:
            events.close()
        return RECONNECT_SECONDS

    def pods(self, namespace: str, selector: str) -> tuple[list[dict[str, Any]], str]:
        """Return the pods with these labels, and the version from which to watch them."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        try:
            listed = self._server.call("GET", path, {"labelSelector": selector})
        except ApiException as error:
            raise self._server.refusal(path, error) from error
        return list(listed.get("items", [])), str(listed["metadata"]["resourceVersion"])

    def changed_pods(
        self, namespace: str, selector: str, version: str, seconds: float
    ) -> Iterator[dict[str, Any]]:
        """Yield pods as they change, for `seconds` at most; a deleted one as it was last.

        Raises:
            DeployError: the API server refuses the watch.
        """
        list_pods = kubernetes.client.CoreV1Api(self._server.watching).list_namespaced_pod
        query = {"label_selector": selector}
        try:
            for event in self._server.events(list_pods, (namespace,), query, version, seconds):
                yield event["raw_object"]
        except ApiException as error:
            if error.status != GONE:
                path = f"/api/v1/namespaces/{namespace}/pods"
                raise self._server.refusal(path, error) from error

    def log_since(self, namespace: str, pod: str, container: str, moment: str) -> str:
        """Return a container's log from a moment on, each line with its own; '' without a log.

        Raises:
            ForbiddenError: the Role grants no logs.
        """
        query = {"container": container, "timestamps": "true"}
        if moment:
            query["sinceTime"] = moment
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        try:
            # Asked once: a node that is lost answers with 500 for as long as it is.
            text = self._server.watching.call_api(
                path,
                "GET",
                query_params=list(query.items()),
                header_params={"Accept": "*/*"},
                response_type="str",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=self._server.limits(),
            )
        except urllib3.exceptions.HTTPError:
            return ""
        except ApiException as error:
            if error.status == 403:
                raise self._server.refusal(path, error) from error
            return ""  # not started, or gone
        return str(text)

    def log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """Return the end of a container's log; '' while it has none."""
        try:
            text: str = kubernetes.client.CoreV1Api(self._server.api).read_namespaced_pod_log(
                pod,
                namespace,
                container=container,
                tail_lines=lines,
                _request_timeout=self._server.limits(),
            )
        except (ApiException, urllib3.exceptions.HTTPError):
            return ""
        return text

    def apply(self, manifest: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
        """Apply a manifest server-side and return the live object.

        Fields of the manifest that another manager owns are taken over: this step decides which
        version is served. Fields that the manifest does not name stay as they are.

        Args:
            manifest: What to apply.
            dry_run: Check everything (rights, schema, webhooks), and keep nothing.

        Raises:
            DeployError: the API server or an admission webhook refuses.
        """
        path = object_path(manifest)
        query = {
            "fieldManager": self._server.caller.field_manager,
            "force": "true",
            "fieldValidation": "Strict",
            **_dry_run(dry_run),
        }
        try:
            applied: dict[str, Any] = self._server.call("PATCH", path, query, manifest)
            return applied
        except ApiException as error:
            raise self._server.refusal(path, error) from error

    def create(self, path: str, manifest: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
        """Create an object; return it as the API server keeps it.

        Args:
            path: Of the list that it joins.
            manifest: The object.
            dry_run: Check everything (rights, schema, webhooks, quotas), and keep nothing.

        Raises:
            ExistsError: there is one of this name.
            DeployError: the API server or an admission webhook refuses.
        """
        query = {
            "fieldManager": self._server.caller.field_manager,
            "fieldValidation": "Strict",
            **_dry_run(dry_run),
        }
        try:
            created: dict[str, Any] = self._server.call(
                "POST", path, query, manifest, "application/json"
            )
            return created
        except ApiException as error:
            raise self._server.refusal(path, error) from error

    def delete(self, path: str, dry_run: bool = False) -> None:
        """Delete an object, and in the background what it owns; one that is gone is no error."""
        query = {"propagationPolicy": "Background", **_dry_run(dry_run)}
        try:
            self._server.call("DELETE", path, query)
        except ApiException as error:
            if error.status != 404:
                raise self._server.refusal(path, error) from error

    def merge(
        self, manifest: dict[str, Any], changes: dict[str, Any], dry_run: bool = False
    ) -> None:
        """Change single fields of an object, named by any manifest of it (a JSON merge patch).

        Raises:
            MissingError: there is none of this name.
            DeployError: the API server or an admission webhook refuses.
        """
        path = object_path(manifest)
        try:
            query = {"fieldManager": self._server.caller.field_manager, **_dry_run(dry_run)}
            self._server.call("PATCH", path, query, changes, "application/merge-patch+json")
        except ApiException as error:
            raise self._server.refusal(path, error) from error


def _dry_run(is_asked: bool) -> dict[str, str]:
    return {"dryRun": "All"} if is_asked else {}


def object_path(manifest: dict[str, Any]) -> str:
    """Return the path of an object whose kind has a regular plural."""
    return (
        f"/apis/{manifest['apiVersion']}/namespaces/{manifest['metadata']['namespace']}"
        f"/{manifest['kind'].lower()}s/{manifest['metadata']['name']}"
    )
