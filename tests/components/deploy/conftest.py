"""A fake API server process with KServe's rules, and what is deployed to it."""

import json
import uuid
from pathlib import Path

import pytest
import yaml

from components.deploy.deployment import Plan
from components.deploy.kserve.inference_service import Target
from components.deploy.kserve.rollout import Rollout
from components.deploy.kserve.waiting import Patience
from components.deploy.options import DeployOptions
from tests.components.conftest import NAMESPACE, TOKEN, ApiServer, write_kubeconfig
from tests.components.deploy.deploy_builders import serving_runtime

# Processes start slowly on a busy machine.
PATIENCE = Patience(deadline=250, poll=1.0, failure=1)


@pytest.fixture
def start_api_server(api_process, store, tmp_path, monkeypatch):
    """Return an empty server with the base's ServingRuntime and a Role; KUBECONFIG points at it."""

    def start(role: Path) -> ApiServer:
        rules = next(yaml.safe_load_all(role.read_text()))["rules"]
        assert api_process.request("POST", "/role", data=json.dumps(rules)).status_code == 200
        assert api_process.apply(serving_runtime()).status_code == 200
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path, api_process.url, TOKEN)))
        return api_process

    return start


@pytest.fixture
def api_server(start_api_server, repository):
    return start_api_server(repository / "manifests/base/deployer_rbac.yaml")


@pytest.fixture
def plan(store):
    return Plan(
        Target("road", NAMESPACE, "segmentor-predictor"),
        DeployOptions(),
        f"s3://models-{uuid.uuid4().hex[:12]}",
        "",
        "segmentor-predictor:0.1.0",
        Rollout(PATIENCE, 1e-5),
    )
