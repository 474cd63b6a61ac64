"""What the overlays ask of the predictor's pods: its own arguments, and what a cluster demands."""

from serving.__main__ import build_parser
from tests.manifests.overlays import runtime_of, service_of


def test_the_predictor_takes_the_arguments(documents):
    (container,) = runtime_of(documents)["spec"]["containers"]
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
    (container,) = runtime_of(documents)["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] == "/v1/models/{{.Name}}"


def test_a_pod_has_the_time_to_drain(documents):
    (container,) = runtime_of(documents)["spec"]["containers"]
    parsed = build_parser().parse_args(["--model_name", "x", *container["args"][1:]])
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    granted = service_of(documents)["spec"]["predictor"]["terminationGracePeriodSeconds"]
    assert granted > pause + parsed.grace_period


def _pods(documents):
    """Pod specs with the names of their containers' securityContext, as the standard reads them."""
    predictor = service_of(documents)["spec"]["predictor"]
    pods = [{**predictor, "containers": runtime_of(documents)["spec"]["containers"]}]
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
    context = service_of(documents)["spec"]["predictor"]["securityContext"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context)


def test_everything_that_is_mounted_exists(documents):
    spec = runtime_of(documents)["spec"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    mounts = {mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts == volumes == {"tmp"}
