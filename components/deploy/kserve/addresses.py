"""The address at which a pod of the cluster reaches a predictor.

KServe's status has the address inside the cluster with the scheme of its gateway (until
kserve#5363, 2026) and without the port that a headless Service needs (until kserve#4998, 2026).
Inside the cluster a predictor only speaks http: on port 80 of its Service, or, if the Service is
headless, on port 8080 of the pods.
"""

import socket
import time
from urllib.parse import urlsplit, urlunsplit

POD_PORT = 8080
CONNECT_SECONDS = 5.0
# How long DNS remembers a name as unknown that was asked for before its pods existed.
NAME_SECONDS = 40.0


def cluster_addresses(url: str) -> list[str]:
    """Return where to try, the likeliest first; an address outside the cluster is kept as it is."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not (host.endswith(".svc") or ".svc." in host):
        return [url]
    # Port 443 belongs to the gateway, as its scheme does.
    port = None if parts.scheme == "https" and parts.port == 443 else parts.port
    hosts = [f"{host}:{port}"] if port else [host, f"{host}:{POD_PORT}"]
    return [urlunsplit(("http", netloc, parts.path, "", "")) for netloc in hosts]


def find_address(url: str) -> str:
    """Return the first address that takes a connection, or the first of all if none does."""
    addresses = cluster_addresses(url)
    deadline = time.monotonic() + NAME_SECONDS
    while len(addresses) > 1:
        for address in addresses:
            if _answers(address):
                return address
        if time.monotonic() >= deadline:
            break
        time.sleep(1)
    return addresses[0]


def _answers(address: str) -> bool:
    parts = urlsplit(address)
    try:
        with socket.create_connection((parts.hostname, parts.port or 80), CONNECT_SECONDS):
            return True
    except OSError:
        return False
