"""A connection to Kubeflow Pipelines: the real kfp client, whose failures become one line."""

import contextlib
import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3

from segmentor.errors import ConfigError, SegmentorError
from segmentor.retrying import CONNECT_SECONDS, attempt_timeout, failure_name

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
_KUBE_CONFIG = Path("~/.kube/config")
_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class ServerError(SegmentorError):
    """Kubeflow Pipelines is away, refuses, or does not understand."""


def connect(
    endpoint: str = "", namespace: str = "", environment: Mapping[str, str] = os.environ
) -> "Client":
    """Connect to Kubeflow Pipelines.

    Args:
        endpoint: Its URL; else KF_PIPELINES_ENDPOINT, else the cluster this runs in, else the
            cluster that kubectl uses.
        namespace: The user's namespace, if KFP has several users.
        environment: Where credentials come from: KF_PIPELINES_TOKEN, KF_PIPELINES_COOKIES or
            KF_PIPELINES_SA_TOKEN_PATH, and KF_PIPELINES_SSL_CA_CERT.

    Raises:
        ConfigError: there is no endpoint, it is not a URL, or a credentials file is missing.
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
        # Check that it is KFP that answers, and not a login page.
        client.get_kfp_healthz()
    return client


@contextlib.contextmanager
def answering(endpoint: str) -> Iterator[None]:
    """Turn what the client raises into a ServerError, and keep it from printing and hanging.

    Raises:
        ServerError: the endpoint is away, refuses, or answers in another language.
    """
    from kfp_server_api import ApiException

    where = endpoint or "Kubeflow Pipelines"
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    except ApiException as error:
        raise _refused(where, error) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, urllib3.exceptions.SSLError):
            raise ServerError(
                where,
                f"TLS failed ({reason})",
                "a certificate that is trusted",
                f"give the cluster's CA certificate in {CA_CERTIFICATES}",
            ) from error
        raise ServerError(
            where,
            f"no answer ({failure_name(error)})",
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


def ui_address(endpoint: str = "", environment: Mapping[str, str] = os.environ) -> str:
    """Return the address of the pipelines UI; '' if only the API's is known."""
    return (environment.get(UI_ENDPOINT) or endpoint or environment.get(ENDPOINT, "")).rstrip("/")


def _client_class() -> type["Client"]:
    from kfp import Client

    class OneAttemptClient(Client):
        """A client that asks once; KFP's asks five times, 5 s apart, and prints tracebacks."""

        def _load_config(self, host: Any, client_id: Any, namespace: Any, *others: Any) -> Any:
            # The client would look for KFP itself in the user's namespace.
            config = super()._load_config(host, client_id, KFP_NAMESPACE, *others)
            config.host = address = config.host.rstrip("/")
            config.retries = urllib3.Retry(
                total=None, connect=0, read=0, other=0, status=0, redirect=False
            )
            refresh = config.refresh_api_key_hook
            if refresh is not None:

                def refresh_key(configuration: Any) -> None:
                    # kubectl's own hook renews the token and restores the API server's address.
                    refresh(configuration)
                    configuration.host = address
                    configuration.refresh_api_key_hook = refresh_key

                config.refresh_api_key_hook = refresh_key
            return config

        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            _limit_time(self._healthz_api.api_client.rest_client)
            answer = self._healthz_api.healthz_service_get_healthz_with_http_info()
            response, _, headers = answer
            # A login page answers 200, and the client takes it for an empty report.
            if "json" not in headers.get("Content-Type", ""):
                raise ValueError("not a health report")
            return response

    return OneAttemptClient


def _limit_time(rest_client: Any) -> None:
    """Limit each call: the client passes None, which urllib3 takes for no limit at all."""
    request = rest_client.request
    limit = (CONNECT_SECONDS, attempt_timeout().read_timeout)

    def limited(*arguments: Any, **options: Any) -> Any:
        return request(*arguments, **{**options, "_request_timeout": limit})

    rest_client.request = limited


def identifier(answer: object, name: str) -> str:
    """Return an identifier that KFP has given, such as `run_id`.

    Raises:
        ValueError: it is missing, so whatever answered is not KFP.
    """
    value = getattr(answer, name, None)
    if not value or not isinstance(value, str):
        raise ValueError(f"an answer without {name}")
    return value


def _credentials(environment: Mapping[str, str]) -> Any:
    if environment.get(TOKEN) or not environment.get(SERVICE_ACCOUNT_TOKEN):
        return None
    from kfp.client import ServiceAccountTokenVolumeCredentials

    return ServiceAccountTokenVolumeCredentials(environment[SERVICE_ACCOUNT_TOKEN])


def _has_cluster(environment: Mapping[str, str]) -> bool:
    config = Path(environment.get("KUBECONFIG") or _KUBE_CONFIG).expanduser()
    return config.exists() or _IN_CLUSTER.exists()


def _refused(where: str, error: Any) -> ServerError:
    """Return the error with the server's message, which is inside a JSON body."""
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
    if 300 <= (error.status or 0) < 400:
        remedies[error.status] = f"a redirect, maybe to a login page: set {TOKEN} or {COOKIES}"
    status = f" {error.status}" if error.status else ""
    return ServerError(
        where, f"refused{status} ({said.strip()[:300]})", remedy=remedies.get(error.status, "")
    )
