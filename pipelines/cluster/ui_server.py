"""Reads pods from the server behind KFP's pages: their state, their events, their logs.

KFP's API knows no cause of a failure. The UI server, which the guide forwards, reads pods with its
own rights, so that nobody needs kubectl's configuration for it.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.cluster.client import ServerError, answering

if TYPE_CHECKING:
    from kfp import Client

# The routes do not exist there, or are refused: asking again changes nothing.
_FINAL_STATUSES = (401, 403, 404)


@dataclass
class UiServer:
    """The UI server of one run; `namespace` is where the run's pods are.

    `address` is empty when only the API's address is known: then nothing is asked.
    """

    client: "Client"
    address: str
    namespace: str
    run_id: str

    def pod(self, name: str) -> dict[str, Any] | None:
        """Return a pod as Kubernetes describes it; None when it or the UI server is away."""
        return self._read_json("/k8s/pod", name)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of a pod, the oldest first."""
        found = self._read_json("/k8s/pod/events", name) or {}
        events = found.get("items") or []
        return sorted(events, key=lambda event: str(event.get("lastTimestamp")))

    def log(self, name: str) -> str:
        """Return the log of a pod's step; '' when it cannot be read."""
        text = self._read("/k8s/pod/logs", name, runid=self.run_id)
        return "" if text.startswith("<!") else text  # a login page

    def _read_json(self, route: str, name: str) -> dict[str, Any] | None:
        try:
            value = json.loads(self._read(route, name))
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def _read(self, route: str, name: str, **query: str) -> str:
        if not self.address:
            return ""
        query = {"podname": name, "podnamespace": self.namespace, **query}
        api = self.client._run_api.api_client
        try:
            with answering(self.address):
                response = api.call_api(
                    route,
                    "GET",
                    query_params=list(query.items()),
                    auth_settings=["Bearer"],
                    _preload_content=False,
                    _return_http_data_only=True,
                    _host=self.address,
                )
                return str(response.data.decode("utf-8", "replace"))
        except ServerError as error:
            if getattr(error.__cause__, "status", None) in _FINAL_STATUSES:
                self.address = ""
            return ""
