"""A connection to Kubeflow Pipelines: the real kfp client, whose failures become one line."""

import contextlib
import io
import json
import logging
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segmentor.errors import ConfigError, SegmentorError

if TYPE_CHECKING:
    from kfp import Client

# The client's own variables are KF_PIPELINES_ENDPOINT, KF_PIPELINES_UI_ENDPOINT,
# KF_PIPELINES_SA_TOKEN_PATH and those of Google's proxy. It takes the next only as arguments.
TOKEN = "KF_PIPELINES_TOKEN"
COOKIES = "KF_PIPELINES_COOKIES"
CA_CERTIFICATES = "KF_PIPELINES_SSL_CA_CERT"
ENDPOINT = "KF_PIPELINES_ENDPOINT"
UI_ENDPOINT = "KF_PIPELINES_UI_ENDPOINT"
SERVICE_ACCOUNT_TOKEN = "KF_PIPELINES_SA_TOKEN_PATH"

# Where KFP is looked for when no endpoint is given.
KFP_NAMESPACE = "kubeflow"
FORWARDED_UI = f"kubectl port-forward --namespace {KFP_NAMESPACE} service/ml-pipeline-ui 8080:80"
SECONDS_TO_ANSWER = 30.0
_KUBE_CONFIG = Path("~/.kube/config")
_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class ServerError(SegmentorError):
    """Kubeflow Pipelines is away, refuses, or does not understand."""


def connect(
    endpoint: str = "", namespace: str = "", environment: Mapping[str, str] = os.environ
) -> "Client":
    """Connects to Kubeflow Pipelines.

    Args:
        endpoint: Its URL; else KF_PIPELINES_ENDPOINT, else the cluster this runs in, else the
            cluster that kubectl uses.
        namespace: Of the user, where KFP has several.
        environment: Where credentials come from: KF_PIPELINES_TOKEN, KF_PIPELINES_COOKIES or
            KF_PIPELINES_SA_TOKEN_PATH, and KF_PIPELINES_SSL_CA_CERT.

    Raises:
        ConfigError: no endpoint can be found, it is no URL, or a file of credentials is not there.
        ServerError: nothing answers, or it refuses.
    """
    host = endpoint or environment.get(ENDPOINT, "")
    if host and not host.startswith(("http://", "https://")):
        raise ConfigError(ENDPOINT, f"'{host}'", "a URL with http:// or https://")
    if not host and not _has_cluster(environment):
        raise ConfigError(
            ENDPOINT,
            "not set, and no cluster is configured",
            "the URL of Kubeflow Pipelines",
            f"{FORWARDED_UI}, then use http://localhost:8080",
        )
    for variable in (CA_CERTIFICATES, SERVICE_ACCOUNT_TOKEN):
        path = environment.get(variable)
        if path and not Path(path).is_file():
            raise ConfigError(variable, f"no file {path}", "one that can be read")
    with answering(host):
        client = _client_class()(
            host=host or None,
            existing_token=environment.get(TOKEN),
            cookies=environment.get(COOKIES),
            ssl_ca_cert=environment.get(CA_CERTIFICATES),
            credentials=_credentials(environment),
            ui_host=environment.get(UI_ENDPOINT),
            **({"namespace": namespace} if namespace else {}),
        )
        # Whatever answers, does it speak KFP? A login page does not.
        client.get_kfp_healthz()
    return client


@contextlib.contextmanager
def answering(endpoint: str) -> Iterator[None]:
    """Turns what the client raises into a ServerError, and keeps it from printing and hanging.

    Raises:
        ServerError: the endpoint is away, refuses, or answers in another language.
    """
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError, SSLError

    where = endpoint or "Kubeflow Pipelines"
    previous = socket.getdefaulttimeout()
    # The client has no timeout of its own.
    socket.setdefaulttimeout(SECONDS_TO_ANSWER)
    # It says each of its attempts; the one line of the error says enough.
    attempts = logging.getLogger("urllib3.connectionpool")
    level = attempts.level
    attempts.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    except ApiException as error:
        raise _refused(where, error) from error
    except (HTTPError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, SSLError):
            raise ServerError(
                where,
                f"TLS failed ({reason})",
                "a certificate that is trusted",
                f"give the cluster's CA certificate in {CA_CERTIFICATES}",
            ) from error
        raise ServerError(
            where,
            f"no answer ({type(reason).__name__})",
            "Kubeflow Pipelines",
            "check the address, and that the port is forwarded",
        ) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ServerError(
            where,
            "an answer that is not KFP's API, maybe a login page",
            "Kubeflow Pipelines",
            f"give the API's address, and credentials in {TOKEN} or {COOKIES}",
        ) from error
    finally:
        attempts.setLevel(level)
        socket.setdefaulttimeout(previous)


def ui_address(endpoint: str = "", environment: Mapping[str, str] = os.environ) -> str:
    """Returns the address of the pipelines UI; '' when it is known of the API alone."""
    return (environment.get(UI_ENDPOINT) or endpoint or environment.get(ENDPOINT, "")).rstrip("/")


def _client_class() -> type["Client"]:
    from kfp import Client

    class OneAttemptClient(Client):
        """Asks once: the client asks five times, five seconds apart, and prints tracebacks."""

        def _load_config(self, host: Any, client_id: Any, namespace: Any, *others: Any) -> Any:
            # The user's namespace is taken for the one where KFP itself is.
            config = super()._load_config(host, client_id, KFP_NAMESPACE, *others)
            config.host = address = config.host.rstrip("/")
            refresh = config.refresh_api_key_hook
            if refresh is not None:

                def refresh_key(configuration: Any) -> None:
                    # kubectl's own renews a token, and puts back the API server's address.
                    refresh(configuration)
                    configuration.host = address
                    configuration.refresh_api_key_hook = refresh_key

                config.refresh_api_key_hook = refresh_key
            return config

        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            answer = self._healthz_api.healthz_service_get_healthz_with_http_info()
            response, _, headers = answer
            # A login page answers 200, and the client takes it for an empty report.
            if "json" not in headers.get("Content-Type", ""):
                raise ValueError("not a health report")
            return response

    return OneAttemptClient


def _credentials(environment: Mapping[str, str]) -> Any:
    if environment.get(TOKEN) or not environment.get(SERVICE_ACCOUNT_TOKEN):
        return None
    from kfp.client import ServiceAccountTokenVolumeCredentials

    return ServiceAccountTokenVolumeCredentials(environment[SERVICE_ACCOUNT_TOKEN])


def _has_cluster(environment: Mapping[str, str]) -> bool:
    config = Path(environment.get("KUBECONFIG") or _KUBE_CONFIG).expanduser()
    return config.exists() or _IN_CLUSTER.exists()


def _refused(where: str, error: Any) -> ServerError:
    """Tells what the server said, which hides in a JSON body."""
    try:
        body = json.loads(error.body)
        said = str(body.get("message") or body.get("error") or error.reason)
    except (ValueError, TypeError, AttributeError):
        said = str(error.reason)
    remedies = {
        401: f"set {TOKEN}, {COOKIES} or {SERVICE_ACCOUNT_TOKEN}",
        403: "use credentials that may do this in this namespace (--namespace)",
        404: "check that the address is that of KFP's API",
    }
    status = f" {error.status}" if error.status else ""
    return ServerError(
        where, f"refused{status} ({said.strip()[:300]})", remedy=remedies.get(error.status, "")
    )
