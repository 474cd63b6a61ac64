"""Addresses as KServe writes them, and the predictor behind them."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from components.deploy.deployment import deploy
from components.deploy.kserve.addresses import cluster_addresses, find_address
from tests.components.deploy.deploy_builders import write_artifacts

HOST = "road-predictor.segmentor.svc.cluster.local"


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        (f"http://{HOST}", [f"http://{HOST}", f"http://{HOST}:8080"]),
        (f"https://{HOST}", [f"http://{HOST}", f"http://{HOST}:8080"]),
        (f"https://{HOST}:443", [f"http://{HOST}", f"http://{HOST}:8080"]),
        ("http://a.b.svc/", ["http://a.b.svc/", "http://a.b.svc:8080/"]),
        (f"https://{HOST}:8080", [f"http://{HOST}:8080"]),
        ("https://road.example.com", ["https://road.example.com"]),
        ("http://127.0.0.1:4711", ["http://127.0.0.1:4711"]),
    ],
)
def test_inside_the_cluster_a_predictor_speaks_http(url, addresses):
    assert cluster_addresses(url) == addresses


@pytest.fixture
def cluster_network(api_server, monkeypatch):
    """Resolve the Service's name, and let one port of it lead to the predictor."""
    real = socket.getaddrinfo

    def open_port(port: int) -> None:
        def resolve(host, asked, *arguments, **options):
            if host != HOST:
                return real(host, asked, *arguments, **options)
            # Port 9 of loopback refuses, as a pod's port 80 does.
            url = api_server.service()["status"]["url"]
            to = urlsplit(url).port if asked == port else 9
            return real("127.0.0.1", to, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", resolve)

    return open_port


@pytest.mark.parametrize(
    ("form", "port", "url"),
    [("cluster-ip", 80, f"http://{HOST}"), ("headless", 8080, f"http://{HOST}:8080")],
)
def test_a_model_is_asked_behind_either_form_of_its_service(
    api_server, plan, tmp_path, cluster_network, form, port, url
):
    api_server.write_addresses(form)
    cluster_network(port)
    deploy(*write_artifacts(tmp_path), plan)
    assert json.loads((tmp_path / "deployment/deployment.json").read_text())["url"] == url


def test_a_service_that_never_answers_is_left_to_the_golden_request(monkeypatch):
    monkeypatch.setattr("components.deploy.kserve.addresses.NAME_SECONDS", 0.5)
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _host, _port, *a, **o: real("127.0.0.1", 9))
    assert find_address(f"https://{HOST}") == f"http://{HOST}"
