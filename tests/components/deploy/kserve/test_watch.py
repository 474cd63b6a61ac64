"""Waiting for an InferenceService by a watch that expires, breaks off, or is not allowed."""

import contextlib
import socket
import threading
import time

import pytest
import yaml

from components.deploy.deployment import deploy
from components.deploy.kserve.caller import DEPLOYER
from components.kubernetes_api import Cluster
from segmentor import retrying
from tests.components.deploy.conftest import NAMESPACE, TOKEN, write_kubeconfig
from tests.components.deploy.deploy_builders import scaled, write_artifacts
from tests.waiting import wait_for


@pytest.fixture
def service(api_server):
    """An InferenceService that nothing changes: it has no runtime."""
    manifest = scaled(NAMESPACE, 1)
    manifest["spec"]["predictor"]["model"]["runtime"] = "none"
    assert api_server.apply(manifest).status_code == 200
    wait_for(lambda: "status" in api_server.service())
    return api_server.service()


def waited(live: dict, seconds: float, started: float | None = None) -> float:
    """How long the waiting took. A busy machine adds some seconds to whatever it is."""
    started = started or time.monotonic()
    Cluster(DEPLOYER).wait_for_change(
        scaled(NAMESPACE, 1), live["metadata"]["resourceVersion"], seconds
    )
    return time.monotonic() - started


def test_a_change_ends_the_waiting_at_once(api_server, service):
    later = threading.Timer(0.3, api_server.apply, [scaled(NAMESPACE, 2), "kubectl", True])
    started = time.monotonic()
    later.start()
    assert 0.3 <= waited(service, 60, started) < 30
    later.join()


def test_a_change_between_the_look_and_the_watch_is_not_missed(api_server, service):
    assert api_server.apply(scaled(NAMESPACE, 2), force=True).status_code == 200
    assert waited(service, 60) < 30


def test_without_a_change_the_time_is_kept(service):
    assert 0.9 < waited(service, 1.0) < 30


@pytest.mark.parametrize(("word", "least"), [("gone", 0), ("garbled", 0.5), ("closed", 0.5)])
def test_a_watch_that_ends_is_followed_by_another_look(api_server, service, word, least):
    api_server.trouble(word)
    assert least <= waited(service, 60) < 30


def test_a_server_that_sends_nothing_does_not_hold_the_step_up(api_server, service):
    api_server.trouble("mute", "mute", "mute", "mute")
    assert 1.9 < waited(service, 2.0) < 30
    # urllib3 has not repeated the watch: each takes a word as it begins.
    assert api_server.troubles() == ["mute", "mute", "mute"]


def test_a_role_without_watch_is_polled(start_api_server, plan, tmp_path, repository):
    text = (repository / "manifests/base/deployer_rbac.yaml").read_text()
    role = next(yaml.safe_load_all(text))
    for rule in role["rules"]:
        rule["verbs"] = [verb for verb in rule["verbs"] if verb != "watch"]
    (tmp_path / "role.yaml").write_text(yaml.safe_dump(role))
    start_api_server(tmp_path / "role.yaml")
    deploy(*write_artifacts(tmp_path / "v1"), plan)
    assert (tmp_path / "v1/deployment/deployment.json").is_file()


def test_a_deployment_outlives_all_of_it(api_server, plan, tmp_path):
    api_server.trouble("gone", "garbled", "closed", "mute", "gone")
    deploy(*write_artifacts(tmp_path / "v1"), plan)
    assert (tmp_path / "v1/deployment/deployment.json").is_file()


@pytest.mark.parametrize("moment", ["before", "during"])
def test_an_api_server_that_is_away_for_a_while_does_not_fail_the_deployment(
    api_server, plan, tmp_path, monkeypatch, caplog, moment
):
    """A relay in front of it refuses connections for some seconds, as an upgrade does."""
    monkeypatch.setattr(retrying, "FIRST_WAIT_SECONDS", 0.1)
    artifacts = write_artifacts(tmp_path / "v1")
    with Relay(api_server.url) as relay:
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path, relay.url, TOKEN)))
        if moment == "before":
            relay.seconds_from_first = 5.0
        else:
            relay.close_after("/apis/serving.kserve.io/v1beta1", seconds=3.0)
        deploy(*artifacts, plan)
    assert "waiting server=127.0.0.1:" in caplog.text
    assert (tmp_path / "v1/deployment/deployment.json").is_file()


class Relay:
    """Passes connections on; once the InferenceService was applied it is closed for a while."""

    def __init__(self, target: str) -> None:
        host, port = target.removeprefix("http://").split(":")
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.closed_until = 0.0
        self.seconds_from_first = 0.0  # closed, from the first connection on
        self.trigger = b""
        self.is_armed, self.seconds = False, 0.0
        self.thread = threading.Thread(target=self.accept, daemon=True)

    def close_after(self, path: str, seconds: float) -> None:
        self.trigger, self.seconds = f"PATCH {path}".encode(), seconds

    def __enter__(self) -> "Relay":
        self.thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        self.listener.close()

    def accept(self) -> None:
        while True:
            try:
                client, _address = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.pass_on, args=[client], daemon=True).start()

    def pass_on(self, client: socket.socket) -> None:
        with client:
            if self.seconds_from_first:
                self.closed_until = time.monotonic() + self.seconds_from_first
                self.seconds_from_first = 0.0
            if time.monotonic() < self.closed_until:
                return
            with socket.create_connection(self.target) as server:
                back = threading.Thread(target=self.copy, args=[server, client], daemon=True)
                back.start()
                self.copy(client, server)
                back.join(1)

    def copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            self.copy_until_closed(source, sink)
        finally:
            # Tell the other side at once that no answer will come.
            for side in (source, sink):
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def copy_until_closed(self, source: socket.socket, sink: socket.socket) -> None:
        while True:
            try:
                content = source.recv(65536)
                if self.is_armed and content.startswith(b"GET"):
                    # The next request: the answer to the one before has been read.
                    self.is_armed = False
                    self.closed_until = time.monotonic() + self.seconds
                if not content or time.monotonic() < self.closed_until:
                    return
                sink.sendall(content)
            except OSError:
                return
            if self.trigger and content.startswith(self.trigger):
                self.trigger, self.is_armed = b"", True
