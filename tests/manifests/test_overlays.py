"""Every overlay as kubectl renders it: what a cluster takes, and what belongs together."""

import re

import pytest
import yaml

from components.container_images import PREDICTOR
from tests.manifests.overlays import OVERLAYS, runtime_of, service_of
from tests.manifests.schemas import problems

# What KServe reads from a Secret's annotations. Source: kserve, pkg/credentials/s3/s3_secret.go.
S3_ANNOTATIONS = {
    "serving.kserve.io/s3-endpoint",
    "serving.kserve.io/s3-usehttps",
    "serving.kserve.io/s3-region",
    "serving.kserve.io/s3-verifyssl",
    "serving.kserve.io/s3-usevirtualbucket",
    "serving.kserve.io/s3-useaccelerate",
    "serving.kserve.io/s3-useanoncredential",
    "serving.kserve.io/s3-cabundle",
    "serving.kserve.io/s3-cabundle-configmap",
}


def test_a_cluster_takes_every_document(documents):
    found = {key: problems(document) for key, document in documents.items()}
    assert {key: value for key, value in found.items() if value} == {}


def test_monitoring_beside_production_scrapes_each_pod_once(rendered):
    monitoring, production = rendered("../monitoring"), rendered("production-monitored")
    assert {kind for kind, _name in monitoring} == {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
    assert [problem for document in monitoring.values() for problem in problems(document)] == []
    together = {
        key: document["spec"]
        for documents in (monitoring, production)
        for key, document in documents.items()
        if key[0] in ("ServiceMonitor", "PodMonitor")
    }
    # One name in one namespace with equal values: neither apply takes a field from the other.
    assert len(together) == 1
    ((key, spec),) = together.items()
    assert spec == monitoring[key]["spec"] == production[key]["spec"]


def test_everything_is_in_one_namespace(documents):
    namespaces = {
        document["metadata"].get("namespace")
        for (kind, _name), document in documents.items()
        if kind != "Namespace"
    }
    assert namespaces == {"segmentor"}


def test_the_issues_list_of_kinds_is_there(rendered):
    common = {"ServingRuntime", "InferenceService", "ServiceAccount", "Role", "RoleBinding"}
    for overlay in OVERLAYS:
        assert common | {"NetworkPolicy"} <= {kind for kind, _name in rendered(overlay)}
    assert {"Secret", "Namespace"} <= {kind for kind, _name in rendered("local")}
    production = {kind for kind, _name in rendered("production")}
    assert "PodDisruptionBudget" in production
    assert "Secret" not in production
    # A cluster without the Prometheus operator refuses a ServiceMonitor.
    assert {kind for kind, _ in rendered("production-monitored")} == {*production, "ServiceMonitor"}


def test_names_refer_to_what_is_there(documents):
    predictor = service_of(documents)["spec"]["predictor"]
    account = documents["ServiceAccount", predictor["serviceAccountName"]]
    formats = [item["name"] for item in runtime_of(documents)["spec"]["supportedModelFormats"]]
    assert predictor["model"]["modelFormat"]["name"] in formats
    assert (
        predictor["model"]["protocolVersion"] in runtime_of(documents)["spec"]["protocolVersions"]
    )
    secrets = [secret["name"] for secret in account["secrets"]]
    assert secrets == ["segmentor-object-store"]


def test_the_stores_secret_speaks_kserves_language(rendered):
    secret = rendered("local")["Secret", "segmentor-object-store"]
    annotations = secret["metadata"]["annotations"]
    assert set(annotations) <= S3_ANNOTATIONS
    endpoint = annotations["serving.kserve.io/s3-endpoint"]
    assert "://" not in endpoint
    assert secret["stringData"]["S3_ENDPOINT"] == f"http://{endpoint}"
    service = rendered("local")["Service", "object-store"]
    port = service["spec"]["ports"][0]["port"]
    assert endpoint == f"object-store.{service['metadata']['namespace']}.svc:{port}"


def test_images_are_pinned_by_digest_but_for_try_outs(rendered):
    for overlay in set(OVERLAYS) - {"local"}:
        for key, document in rendered(overlay).items():
            for image in re.findall(r"image: (\S+)", yaml.safe_dump(document)):
                assert re.search(r"@sha256:[0-9a-f]{64}$", image), (key, image)
    local = runtime_of(rendered("local"))["spec"]["containers"][0]["image"]
    assert local == PREDICTOR


def test_selectors_find_the_predictors_pods(rendered):
    production = rendered("production-monitored")
    pod_labels = {
        **runtime_of(production)["spec"]["labels"],
        "serving.kserve.io/inferenceservice": "segmentation",
    }
    for (kind, _name), document in production.items():
        if kind == "NetworkPolicy":
            selector = document["spec"]["podSelector"]
        elif kind in ("PodDisruptionBudget", "ServiceMonitor"):
            selector = document["spec"]["selector"]
        else:
            continue
        for key, value in selector.get("matchLabels", {}).items():
            assert pod_labels[key] == value
        for expression in selector.get("matchExpressions", []):
            assert expression["operator"] == "Exists"
            assert expression["key"] in pod_labels


def test_the_try_out_store_is_not_shut_off_by_the_policy(rendered):
    local = rendered("local")
    labels = local["Deployment", "object-store"]["spec"]["template"]["metadata"]["labels"]
    policy = local["NetworkPolicy", "segmentor-predictor"]["spec"]["podSelector"]
    assert policy["matchExpressions"][0]["key"] not in labels


@pytest.mark.parametrize("overlay", ["production", "fast"])
def test_a_predictor_reaches_any_resolver(rendered, overlay):
    """NodeLocal DNSCache is an address of the node's; OpenShift's resolver listens on 5353."""
    rules = rendered(overlay)["NetworkPolicy", "segmentor-predictor-egress"]["spec"]["egress"]
    anywhere = {
        (port["protocol"], port["port"])
        for rule in rules
        if "to" not in rule
        for port in rule["ports"]
    }
    assert {(protocol, port) for protocol in ("UDP", "TCP") for port in (53, 5353)} <= anywhere


def test_predictors_may_ask_for_the_credentials_of_their_role(rendered):
    """EKS Pod Identity: an agent on the node, at an address of its own."""
    rules = rendered("production")["NetworkPolicy", "segmentor-predictor-egress"]["spec"]["egress"]
    (rule,) = [rule for rule in rules if "to" in rule]
    assert {"ipBlock": {"cidr": "169.254.170.23/32"}} in rule["to"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 80}]


def test_the_gpu_overlay_asks_for_what_it_tolerates(rendered):
    gpu = runtime_of(rendered("gpu"))["spec"]
    (container,) = gpu["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert gpu["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_the_fast_overlay_is_production_with_an_engine_and_an_image(rendered, repository):
    fast, production = rendered("fast"), rendered("production")
    assert set(fast) == set(production)
    (container,), (theirs,) = (runtime_of(of)["spec"]["containers"] for of in (fast, production))
    assert container["args"] == [*theirs["args"], "--engine=fast"]
    changed = {key for key in container if container[key] != theirs[key]}
    assert changed <= {"args", "image"}
    ours, base = (
        yaml.safe_load((repository / f"manifests/overlays/{name}/kustomization.yaml").read_text())
        for name in ("fast", "production")
    )
    # By another name its image would not be found, and production's would be served.
    assert ours["images"][0]["name"] == base["images"][0]["newName"]


def test_scaling_and_guard_fit_together(rendered):
    production = rendered("production")
    predictor = service_of(production)["spec"]["predictor"]
    budget = production["PodDisruptionBudget", "segmentation"]["spec"]
    assert predictor["minReplicas"] > budget["minAvailable"]
    # Else pods that never become ready keep their nodes from being drained.
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert predictor["maxReplicas"] >= predictor["minReplicas"]


def test_a_node_of_two_cpus_holds_the_try_out_beside_kubeflow(rendered):
    (container,) = runtime_of(rendered("local"))["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == "250m"
    # Without a limit the number of threads would follow the node's CPUs.
    assert "cpu" not in container["resources"]["limits"]
    assert "--threads=2" in container["args"]


def test_only_what_scales_has_an_autoscaler(rendered):
    for overlay in OVERLAYS:
        service = service_of(rendered(overlay))
        predictor = service["spec"]["predictor"]
        kind = service["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"]
        assert (kind == "hpa") == (predictor["maxReplicas"] > 1)
        assert kind in ("hpa", "none")


def test_the_gateway_for_cvat_admits_cvat_alone_and_may_only_list(rendered):
    documents = rendered("../cvat-gateway")
    assert [problem for document in documents.values() for problem in problems(document)] == []
    role = documents["Role", "segmentor-cvat-gateway"]
    assert role["rules"] == [
        {"apiGroups": ["serving.kserve.io"], "resources": ["inferenceservices"], "verbs": ["list"]}
    ]
    policy = documents["NetworkPolicy", "segmentor-cvat-gateway"]["spec"]
    assert policy["ingress"][0]["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "cvat"}}}
    ]
    pod = documents["Deployment", "segmentor-cvat-gateway"]["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["python", "-m", "serving.cvat_gateway"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "volumes" in pod["spec"]
    assert not [entry for entry in container["env"] if "secret" in str(entry).lower()]
