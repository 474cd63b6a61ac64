"""What is said of a rollout that does not become ready: its own cause, first, in one line."""

import pytest

from components.deploy.kserve.caller import DEPLOYER
from components.deploy.kserve.diagnosis import RolloutState, diagnose
from components.deploy.kserve.inference_service import Target
from components.kubernetes_api import Cluster
from tests.components.deploy.conftest import NAMESPACE

TARGET = Target("road", NAMESPACE, "segmentor-predictor")
IMAGE = "registry.example/segmentor-predictor:9"
# The status of a rollout a year ago, as KServe keeps it.
OLD_FAILURE = {"reason": "ModelLoadFailed", "message": "of an earlier pod", "exitCode": 1}


def _pod(name: str, **status) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "kserve-container", "image": IMAGE}]},
        "status": status,
    }


def _waiting(reason: str, message: str = "", name: str = "kserve-container", **more) -> dict:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": name, "ready": False, "state": state, **more}


def _event(server, name: str, message: str, kind: str = "Pod", time: str = "2026-12-01") -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"event-{hash((name, message)) & 0xFFFF:x}"},
        "type": "Warning",
        "reason": "Said",
        "message": message,
        "involvedObject": {"kind": kind, "name": name},
        "lastTimestamp": f"{time}T00:00:00Z",
    }
    assert server.apply(event).status_code == 200


def _service(**model_status) -> dict:
    conditions = [
        {"type": "Ready", "status": "False", "reason": "MinimumReplicasUnavailable"},
        {"type": "Stopped", "status": "False", "severity": "Info"},
    ]
    applied = {"manager": "segmentor-deploy", "time": "2026-11-30T12:00:00Z"}
    return {
        "metadata": {"name": "road", "managedFields": [applied]},
        "status": {"conditions": conditions, "modelStatus": model_status},
    }


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (
            {"containerStatuses": [_waiting("ImagePullBackOff", "Back-off pulling image")]},
            f"the image {IMAGE} cannot be pulled (Back-off pulling image)",
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "message": "0/1 nodes are available: 1 Insufficient cpu.",
                    }
                ]
            },
            "no node has room for the pod (0/1 nodes are available: 1 Insufficient cpu.)",
        ),
        (
            {
                "containerStatuses": [
                    _waiting(
                        "CrashLoopBackOff",
                        "back-off 10s",
                        lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                    )
                ]
            },
            "the container ran out of memory",
        ),
        (
            {
                "initContainerStatuses": [
                    _waiting(
                        "CrashLoopBackOff",
                        name="storage-initializer",
                        lastState={"terminated": {"exitCode": 1, "reason": "Error"}},
                    )
                ],
                "containerStatuses": [_waiting("PodInitializing")],
            },
            "the model could not be fetched, exit code 1",
        ),
        (
            {"containerStatuses": [_waiting("CreateContainerConfigError", 'secret "s" not found')]},
            'CreateContainerConfigError (secret "s" not found)',
        ),
    ],
)
def test_the_cause_comes_first_in_words(api_server, status, cause):
    state = RolloutState(_service(lastFailureInfo=OLD_FAILURE), [_pod("road-2", **status)])
    findings = list(diagnose(Cluster(DEPLOYER), TARGET, state))
    assert findings[0].startswith(cause)
    assert "(pod road-2, container " in findings[0]
    assert not [finding for finding in findings if "earlier pod" in finding]
    assert "condition Ready=False: MinimumReplicasUnavailable" in findings
    assert not [finding for finding in findings if "Stopped" in finding]


def test_events_of_other_pods_are_not_told(api_server):
    _event(api_server, "road-1", "of an earlier pod")
    _event(api_server, "roadside-predictor-1", "of another service")
    _event(api_server, "road-2", "Startup probe failed: connection refused")
    state = RolloutState(_service(), [_pod("road-2")])
    assert list(diagnose(Cluster(DEPLOYER), TARGET, state))[0] == (
        "event Said: Startup probe failed: connection refused"
    )
    assert "earlier" not in str(list(diagnose(Cluster(DEPLOYER), TARGET, state)))


def test_without_pods_whatever_should_make_them_says_why(api_server):
    _event(api_server, "road-predictor-5", "of an earlier pod")
    makers = "road-predictor-7f9c"
    _event(api_server, makers, "exceeded quota, last year", "ReplicaSet", "2025-12-01")
    _event(api_server, makers, "exceeded quota", "ReplicaSet")
    state = RolloutState(_service(lastFailureInfo=OLD_FAILURE), [])
    findings = list(diagnose(Cluster(DEPLOYER), TARGET, state))
    assert findings[0] == "event Said: exceeded quota"
    assert len(findings) == 2


def test_a_spec_that_kserve_refuses_is_quoted(api_server):
    failure = {"reason": "RuntimeNotRecognized", "message": "Waiting for runtime"}
    service = _service(transitionStatus="InvalidSpec", lastFailureInfo=failure)
    findings = list(diagnose(Cluster(DEPLOYER), TARGET, RolloutState(service, [])))
    assert findings[0] == "RuntimeNotRecognized: Waiting for runtime"
