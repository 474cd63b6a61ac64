import re

import pytest
import yaml

from components.deploy.inference_service import DEFAULTS, Target, render_inference_service
from serving.__main__ import build_parser
from tests.manifests.schemas import problems

OVERLAYS = ("local", "gpu", "production", "fast")
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


@pytest.fixture(params=OVERLAYS)
def documents(request, rendered):
    return rendered(request.param)


def _runtime(documents):
    return documents["ServingRuntime", "onnx-segmentation"]


def _service(documents):
    return documents["InferenceService", "segmentation"]


def test_a_cluster_takes_every_document(documents):
    found = {key: problems(document) for key, document in documents.items()}
    assert {key: value for key, value in found.items() if value} == {}


def test_monitoring_beside_production_scrapes_each_pod_once(rendered):
    monitoring, production = rendered("../monitoring"), rendered("production")
    assert {kind for kind, _name in monitoring} == {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
    assert [problem for document in monitoring.values() for problem in problems(document)] == []
    together = {
        key: document["spec"]
        for documents in (monitoring, production)
        for key, document in documents.items()
        if key[0] in ("ServiceMonitor", "PodMonitor")
    }
    # Of one name in one namespace, with equal values: neither apply takes a field from the other.
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
    assert {"PodDisruptionBudget", "ServiceMonitor"} <= production
    assert "Secret" not in production


def test_the_predictor_takes_the_arguments(documents):
    (container,) = _runtime(documents)["spec"]["containers"]
    parsed = build_parser().parse_args(
        [argument.replace("{{.Name}}", "road") for argument in container["args"]]
    )
    assert parsed.model_name == "road"
    assert parsed.model_dir == "/mnt/models"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    # KServe's Service targets the first port; a name with h2c marks HTTP/2.
    assert list(ports.items()) == [("http1", parsed.http_port), ("h2c", parsed.grpc_port)]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == parsed.http_port


def test_readiness_asks_for_the_model(documents):
    (container,) = _runtime(documents)["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] == "/v1/models/{{.Name}}"


def test_a_pod_has_the_time_to_drain(documents):
    (container,) = _runtime(documents)["spec"]["containers"]
    parsed = build_parser().parse_args(["--model_name", "x", *container["args"][1:]])
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    granted = _service(documents)["spec"]["predictor"]["terminationGracePeriodSeconds"]
    assert granted > pause + parsed.grace_period


def _pods(documents):
    """Pod specs with the names of their containers' securityContext, as the standard reads them."""
    predictor = _service(documents)["spec"]["predictor"]
    pods = [{**predictor, "containers": _runtime(documents)["spec"]["containers"]}]
    for (kind, _name), document in documents.items():
        if kind == "Deployment":
            pods.append(document["spec"]["template"]["spec"])
    return pods


def test_pods_meet_the_restricted_pod_security_standard(documents):
    """Source: kubernetes.io/docs/concepts/security/pod-security-standards, Restricted."""
    for pod in _pods(documents):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"].get("runAsUser") != 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        allowed = {"name", "configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}
        assert all(set(volume) <= allowed for volume in pod.get("volumes", []))
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["runAsNonRoot"] is True
            assert security["readOnlyRootFilesystem"] is True
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not any("hostPort" in port for port in container["ports"])
            assert container["resources"]["limits"]["memory"]


def test_the_predictor_may_run_as_any_user(documents):
    """OpenShift gives each namespace a range, and refuses the pods that ask for another."""
    context = _service(documents)["spec"]["predictor"]["securityContext"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context)


def test_everything_that_is_mounted_exists(documents):
    spec = _runtime(documents)["spec"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    mounts = {mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts == volumes == {"tmp"}


def test_names_refer_to_what_is_there(documents):
    predictor = _service(documents)["spec"]["predictor"]
    account = documents["ServiceAccount", predictor["serviceAccountName"]]
    assert predictor["model"]["runtime"] == _runtime(documents)["metadata"]["name"]
    formats = [item["name"] for item in _runtime(documents)["spec"]["supportedModelFormats"]]
    assert predictor["model"]["modelFormat"]["name"] in formats
    assert predictor["model"]["protocolVersion"] in _runtime(documents)["spec"]["protocolVersions"]
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


def test_the_storage_uri_is_a_folder(documents):
    # Without the slash the storage-initializer also fetches every longer neighbour.
    uri = _service(documents)["spec"]["predictor"]["model"]["storageUri"]
    assert re.fullmatch(r"s3://[a-z-]+/segmentation/[^/]+/", uri)


def test_images_are_pinned_by_digest_but_for_try_outs(rendered):
    for overlay in ("gpu", "production", "fast"):
        for key, document in rendered(overlay).items():
            for image in re.findall(r"image: (\S+)", yaml.safe_dump(document)):
                assert re.search(r"@sha256:[0-9a-f]{64}$", image), (key, image)
    local = _runtime(rendered("local"))["spec"]["containers"][0]["image"]
    from components.container_images import PREDICTOR

    assert local == PREDICTOR


def test_selectors_find_the_predictors_pods(rendered):
    production = rendered("production")
    pod_labels = {
        **_runtime(production)["spec"]["labels"],
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
    gpu = _runtime(rendered("gpu"))["spec"]
    (container,) = gpu["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert gpu["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_the_fast_overlay_is_production_with_an_engine_and_an_image(rendered, repository):
    fast, production = rendered("fast"), rendered("production")
    assert set(fast) == set(production)
    (container,), (theirs,) = (_runtime(of)["spec"]["containers"] for of in (fast, production))
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
    predictor = _service(production)["spec"]["predictor"]
    budget = production["PodDisruptionBudget", "segmentation"]["spec"]
    assert predictor["minReplicas"] > budget["minAvailable"]
    # Else pods that never become ready keep their nodes from being drained.
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert predictor["maxReplicas"] >= predictor["minReplicas"]


def test_the_deploy_step_and_the_manifests_agree(rendered):
    """Where both say something they say the same, so neither takes a field from the other."""
    applied = render_inference_service(
        Target("segmentation", "segmentor", "segmentor-predictor"),
        "s3://models/segmentation/v2/",
        "v2",
        "sha256:ab",
        {},
        "sha256:cd",
    )
    ours = _service(rendered("production"))
    assert problems(applied) == []
    model = applied["spec"]["predictor"].pop("model")
    theirs = ours["spec"]["predictor"]["model"]
    assert {key: theirs[key] for key in ("modelFormat", "runtime", "protocolVersion")} == {
        key: model[key] for key in ("modelFormat", "runtime", "protocolVersion")
    }
    for overlay in OVERLAYS:
        theirs = _service(rendered(overlay))["spec"]["predictor"]
        for key, value in applied["spec"]["predictor"].items():
            # Of what is a default, the manifests may say otherwise: the step leaves it alone.
            assert theirs[key] == value or (overlay, key) == ("gpu", "deploymentStrategy")
    assert set(DEFAULTS) <= set(applied["spec"]["predictor"])
    mode = "serving.kserve.io/deploymentMode"
    assert applied["metadata"]["annotations"][mode] == ours["metadata"]["annotations"][mode]


def test_the_deploy_steps_runtime_is_the_manifests_runtime(repository):
    ours = (repository / "manifests/base/serving_runtime.yaml").read_bytes()
    assert (repository / "components/deploy/serving_runtime.yaml").read_bytes() == ours


def test_the_launcher_example_is_what_the_launcher_reads(repository):
    config = yaml.safe_load((repository / "manifests/examples/kfp_launcher.yaml").read_text())
    assert problems(config) == []
    assert config["metadata"]["name"] == "kfp-launcher"
    provider = yaml.safe_load(config["data"]["providers"])["s3"]["default"]
    # Source: kubeflow/pipelines, backend/src/v2/objectstore/config.go (S3ProviderDefault).
    assert set(provider) <= {
        "endpoint", "region", "disableSSL", "forcePathStyle", "maxRetries", "credentials"
    }  # fmt: skip
    assert set(provider["credentials"]["secretRef"]) == {
        "secretName", "accessKeyKey", "secretKeyKey"
    }  # fmt: skip
