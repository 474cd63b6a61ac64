"""What `segmentor submit` refuses by itself, and how it tells what the server refuses."""

import io
import time

import pytest
from free_ports import free_port
from submitting import SOURCE, environment, submitted

from pipelines.cluster.client import ServerError
from pipelines.cluster.submission import submit
from pipelines.compilation import SWEEP_YAML
from segmentor import retrying
from segmentor.errors import ConfigError
from tests.emulators.bad_network import LOGIN, Answer, bad_network


def test_a_path_of_this_machine_is_refused_before_anything_is_sent(server):
    with pytest.raises(ConfigError, match=r"parameter source: 'x\.zip', a path of this machine"):
        submitted(server, {"source": "x.zip"})
    assert server[1].requests == []


def test_an_unknown_parameter_is_refused_before_anything_is_sent(server):
    with pytest.raises(ConfigError, match="did you mean seed"):
        submitted(server, {**SOURCE, "sead": "1"})
    assert server[1].requests == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("object_store_secret", "", "'', expected a name"),
        ("train_memory", "8 GB", "'8 GB', expected a quantity as Kubernetes writes it"),
        ("train_cpu", "", "'', expected a quantity"),
        ("train_cpu", "0", "'0', expected a quantity as Kubernetes writes it, above 0"),
        ("train_memory", "0.0Gi", "'0.0Gi', expected a quantity"),
        ("object_store_secret", "my_secret", "'my_secret', expected a name as Kubernetes has it"),
        ("predictor_service_account", "Predictor", "'Predictor', expected a name"),
        ("train_accelerator_type", "gpu", "'gpu', expected .* with its domain"),
        ("train_accelerator_type", "", "'', expected .* with its domain"),
        # An empty REGISTRY before a slash.
        ("data_image", "/segmentor-data:0.1.0", "'/segmentor-data:0.1.0', expected a container"),
        ("trainer_image", "", "'', expected a container image"),
        ("trainer_image", "r.example/Vision/trainer:1", "expected a container image"),
        ("predictor_image", "predictor:", "'predictor:', expected a container image, or nothing"),
        ("train_accelerators", "one", "'one', expected a whole number"),
        ("train_node_selector", '{"gpu": true}', "expected labels whose values are texts"),
        ("train_tolerations", '[{"keys": "a"}]', "with keys among effect, key, operator"),
    ],
)
def test_what_the_driver_would_refuse_is_refused_before_anything_is_sent(server, name, value, told):
    with pytest.raises(ConfigError, match=f"parameter {name}: .*{told}"):
        submitted(server, {**SOURCE, name: value})
    assert server[1].requests == []


@pytest.mark.parametrize("value", ["[]", '["a=1", {}]'])
def test_a_sweep_of_nothing_is_refused(server, value):
    """The cluster would find it after the data steps."""
    with pytest.raises(ConfigError, match="parameter override_sets: .* one or more texts"):
        submitted(server, {**SOURCE, "override_sets": value}, pipeline=SWEEP_YAML)
    assert server[1].requests == []


def test_right_settings_of_pods_are_taken(server):
    settings = {
        "train_memory": "1.5Gi",
        "train_cpu": "500m",
        "train_accelerators": "2",
        "train_node_selector": '{"gpu": "true"}',
        "train_tolerations": '[{"key": "nvidia.com/gpu", "operator": "Exists"}]',
        "train_accelerator_type": "gpu.intel.com/i915",
        "object_store_secret": "team-a.store",
        "data_image": "segmentor-data:0.1.0",
        "trainer_image": f"localhost:5000/vision/segmentor_trainer:0.1.0@sha256:{'0a' * 32}",
        "predictor_image": "",
    }
    submitted(server, {**SOURCE, **settings})
    assert len(server[1].runs) == 1


@pytest.mark.parametrize("variable", ["KF_PIPELINES_SSL_CA_CERT", "KF_PIPELINES_SA_TOKEN_PATH"])
def test_a_file_of_credentials_that_is_not_there_is_named(server, variable, tmp_path):
    with pytest.raises(ConfigError, match=f"{variable}: no file {tmp_path}/none"):
        submitted(server, variables={variable: str(tmp_path / "none")})


def test_a_certificate_that_is_not_trusted_is_told_with_what_to_do(tls_server):
    with pytest.raises(ServerError) as caught:
        submit(SOURCE, environment=environment(tls_server), stream=io.StringIO())
    message = str(caught.value)
    assert "TLS failed (" in message
    assert "certificate verify failed" in message
    assert "CA certificate in KF_PIPELINES_SSL_CA_CERT" in message


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "refused 401 (who are you); set KF_PIPELINES_TOKEN"),
        (403, "refused 403 (who are you); use credentials that may do this"),
        (404, "refused 404 (who are you); check that the address"),
        (500, "refused 500 (who are you)"),
    ],
)
def test_a_server_that_refuses_is_told_in_its_own_words(server, status, message):
    server[1].refuse = (status, "who are you")
    with pytest.raises(ServerError) as caught:
        submitted(server)
    assert str(caught.value).startswith(f"{server[0]}: {message}")
    assert "\n" not in str(caught.value)


def test_a_login_page_is_recognised(server):
    server[1].login_page = True
    with pytest.raises(ServerError, match="not KFP's API, maybe a login page"):
        submitted(server)


@pytest.mark.parametrize("body", [b"[1,2", b"{}", b"[]", b"null", b'"text"'])
@pytest.mark.parametrize("only", ["POST .*runs", "."])
def test_an_api_of_another_kind_is_an_error(server, body, only):
    """Such an answer once became a link to the run `None`, with exit code 0."""
    with bad_network(server[0]) as network:
        network.only = only
        network.troubles = [Answer(200, body, {"Content-Type": "application/json"})] * 20
        with pytest.raises(ServerError, match="an answer that is not KFP's API"):
            submit(SOURCE, environment=environment(network.address), stream=io.StringIO())


def test_a_redirect_is_told_with_what_to_do(server):
    with bad_network(server[0]) as network:
        network.troubles = [LOGIN] * 20
        with pytest.raises(ServerError, match="refused 302 .*maybe to a login page: set KF_PIPE"):
            submit(SOURCE, environment=environment(network.address), stream=io.StringIO())


@pytest.mark.parametrize("only", ["GET .*healthz", "GET .*pipelines", "POST .*runs"])
def test_a_call_that_is_not_answered_ends_in_time(server, only, monkeypatch):
    monkeypatch.setattr(retrying, "LAPTOP_SILENCE_SECONDS", 1)
    monkeypatch.setattr(retrying, "LAPTOP_SECONDS", 2)
    with bad_network(server[0]) as network:
        network.only, network.troubles = only, ["silent"] * 20
        start = time.monotonic()
        with pytest.raises(ServerError, match=r"no answer .ReadTimeoutError"):
            submit(SOURCE, environment=environment(network.address), stream=io.StringIO())
        assert time.monotonic() - start < 10


def test_a_run_whose_start_is_not_confirmed_is_not_started_again(server):
    with bad_network(server[0]) as network:
        network.only, network.troubles = "POST .*runs", ["lost"]
        with pytest.raises(ServerError, match="no answer"):
            submit(SOURCE, environment=environment(network.address), stream=io.StringIO())
    assert len(server[1].runs) == 1


def test_an_endpoint_that_is_down_is_told_at_once_and_once(caplog):
    address = f"http://127.0.0.1:{free_port()}"
    start = time.monotonic()
    with pytest.raises(ServerError, match="no answer .NewConnectionError"):
        submit(SOURCE, environment=environment(address), stream=io.StringIO())
    assert time.monotonic() - start < 60
    assert caplog.text == ""


def test_no_endpoint_and_no_cluster_is_told_with_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="KF_PIPELINES_ENDPOINT: not set.*kubectl port-forward"):
        submit(SOURCE, environment={"KUBECONFIG": str(tmp_path / "none")}, stream=io.StringIO())
    with pytest.raises(ConfigError, match="'localhost:8080', expected a URL"):
        submit(SOURCE, endpoint="localhost:8080", environment={}, stream=io.StringIO())
