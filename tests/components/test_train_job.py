"""The TrainJob and its runtime as a cluster takes them, and what is asked before a training."""

from pathlib import Path

import pytest
import yaml
from kubeflow_trainer_api import models

from components.deploy.check import main as check_main
from components.node_options import NodeOptions
from components.options import flag_of
from components.train.trainer_job.launcher import job_name
from components.train_job import LONGEST_NAME, RUNTIME, train_job
from segmentor.errors import ConfigError
from tests.components.conftest import NAMESPACE, TOKEN, write_kubeconfig
from tests.manifests.schemas import problems

FOLDER = Path(__file__).parents[2] / "manifests/training"
RUNTIME_MANIFEST = yaml.safe_load((FOLDER / "training_runtime.yaml").read_text())
GPUS = NodeOptions(
    train_nodes=4,
    train_cpu="6",
    train_accelerators="2",
    train_node_selector={"gpu": "true"},
    train_tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}],
)


def job(options: NodeOptions, *arguments: str) -> dict:
    owner = {"name": "train-pod", "uid": "1-2-3"}
    return train_job("segmentor-train-1", NAMESPACE, options, arguments, owner)


def environment(options: NodeOptions) -> dict:
    return {item["name"]: item for item in job(options)["spec"]["trainer"]["env"]}


@pytest.mark.parametrize("options", [NodeOptions(train_nodes=2), GPUS])
def test_trainer_s_crds_and_its_own_models_take_the_job_whole(options):
    manifest = job(options, "--training", "s3://models/.training/1")
    assert problems(manifest) == []
    # Its models drop what they do not know, silently.
    assert models.TrainerV1alpha1TrainJob.from_dict(manifest).to_dict() == manifest


def test_trainer_s_crds_and_its_own_models_take_the_runtime_whole():
    assert problems(RUNTIME_MANIFEST) == []
    kind = models.TrainerV1alpha1TrainingRuntime
    assert kind.from_dict(RUNTIME_MANIFEST).to_dict() == RUNTIME_MANIFEST
    assert RUNTIME_MANIFEST["metadata"]["name"] == RUNTIME


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "trainer", "numNode"), 2),
        (("spec", "trainer", "numNodes"), "2"),
        (("spec", "runtimePatches"), [{"manager": "a"}, {"manager": "a"}]),
        (("spec", "trainer", "env"), [{"name": "A"}, {"name": "A"}]),
    ],
)
def test_the_crds_refuse(path, value):
    manifest = job(GPUS)
    *parents, last = path
    target = manifest
    for key in parents:
        target = target[key]
    target[last] = value
    assert problems(manifest)


def test_one_process_a_node_is_the_container_s_own_and_several_are_torchrun_s():
    module = "components.train.trainer_job.node"
    alone = job(NodeOptions(train_nodes=2))["spec"]["trainer"]
    assert (alone["command"], alone["numProcPerNode"]) == (["python", "-m", module], 1)
    several = job(GPUS)["spec"]["trainer"]
    assert several["command"] == ["python", "-m", "torch.distributed.run", "-m", "--", module]
    assert (several["numNodes"], several["numProcPerNode"]) == (4, 2)
    limits = {"cpu": "6", "memory": "4Gi", "nvidia.com/gpu": "2"}
    assert several["resourcesPerNode"] == {"requests": limits, "limits": limits}


@pytest.mark.parametrize(
    ("cpu", "accelerators", "threads"),
    [("1", "0", 1), ("500m", "0", 1), ("3500m", "0", 3), ("6", "2", 3), ("4", "8", 1)],
)
def test_the_threads_are_pinned_to_the_cpus_of_a_process(cpu, accelerators, threads):
    """The weights depend on them, and a node without the variable uses all of the machine's."""
    options = NodeOptions(train_nodes=2, train_cpu=cpu, train_accelerators=accelerators)
    assert environment(options)["OMP_NUM_THREADS"]["value"] == str(threads)


def test_kubernetes_puts_no_variables_into_overrides():
    assert job(NodeOptions(train_nodes=2), "a=$(HOME)")["spec"]["trainer"]["args"] == ["a=$$(HOME)"]


def test_the_credentials_are_named_and_not_written():
    env = environment(NodeOptions(train_nodes=2, object_store_secret="team-store"))
    reference = env["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "team-store", "key": "AWS_SECRET_ACCESS_KEY", "optional": True}


def test_a_step_s_job_has_a_name_of_its_own_that_fits():
    specification = job(NodeOptions(train_nodes=2))["spec"]
    name = job_name(specification, "minio://run-1/train/checkpoint")
    assert len(name) <= LONGEST_NAME
    assert name == job_name(specification, "minio://run-1/train/checkpoint")
    assert name != job_name(specification, "minio://run-2/train/checkpoint")
    assert name != job_name(job(GPUS)["spec"], "minio://run-1/train/checkpoint")


def test_known_errors_and_disruptions_are_those_of_the_runtime_s_own_texts():
    """As Kubernetes words the failures of a Job, which JobSet matches."""
    import re

    first, second = RUNTIME_MANIFEST["spec"]["template"]["spec"]["failurePolicy"]["rules"]
    (known,), (disruption,) = (
        rule["onJobFailureMessagePatterns"] for rule in (first, second)
    )  # fmt: skip
    said = "Container node for pod a/b failed with exit code {} matching FailJob rule at index 0"
    assert [bool(re.search(known, said.format(code))) for code in (2, 3, 1, 33, 143)] == [
        True, True, False, False, False,
    ]  # fmt: skip
    evicted = "Pod a/b has condition DisruptionTarget matching FailJob rule at index 1"
    assert re.search(disruption, evicted)


# check_deployment.


@pytest.fixture
def check(api_process, store, tmp_path, monkeypatch, capfd):
    """Runs check_deployment on an empty fake cluster; returns its code, last line and outputs."""

    def run(
        *flags: str, manifests: bool = True, **script: object
    ) -> tuple[int, str, dict[str, str]]:
        rules = next(yaml.safe_load_all((FOLDER / "rbac.yaml").read_text()))["rules"]
        api_process.request("POST", "/role", json=rules)
        if manifests:
            assert api_process.apply(RUNTIME_MANIFEST).status_code == 200
        api_process.script(**script)
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path, api_process.url, TOKEN)))
        names = ("train_step_cpu", "train_step_memory", "train_step_accelerators")
        paths = [text for name in names for text in (flag_of(name), str(tmp_path / name))]
        code = check_main(["--destination", "s3://checked", *paths, *flags])
        found = {
            name.removeprefix("train_step_"): (tmp_path / name).read_text()
            for name in names
            if (tmp_path / name).is_file()
        }
        return code, (capfd.readouterr().err.strip().splitlines() or [""])[-1], found

    return run


NODES = ("--train-nodes", "2", "--train-cpu", "4", "--train-accelerators", "1")


def test_the_step_s_own_pod_gets_what_one_node_needs_and_little_beside_several(check):
    code, _, found = check("--train-cpu", "4", "--train-memory", "8Gi", "--train-accelerators", "1")
    assert (code, found) == (0, {"cpu": "4", "memory": "8Gi", "accelerators": "1"})
    code, line, found = check(*NODES)
    assert (code, found) == (0, {"cpu": "500m", "memory": "1Gi", "accelerators": "0"}), line


def test_with_one_node_no_cluster_is_asked(check, monkeypatch):
    monkeypatch.setattr("components.train_job.Cluster", None)
    assert check()[0] == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"absent": ["trainer.kubeflow.org"]},
            "install Kubeflow Trainer (docs/cluster/several-nodes.md), or set train_nodes=1",
        ),
        ({"manifests": False}, "apply manifests/training in this namespace"),
    ],
)
def test_what_is_missing_is_one_line_that_says_what_to_do(check, changes, said):
    code, line, found = check(*NODES, **changes)
    assert (code, found) == (3, {})
    assert line.startswith("error: ")
    assert said in line


def test_nothing_is_kept_of_the_rehearsal(check, api_process):
    assert check(*NODES)[0] == 0
    path = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
    assert api_process.request("GET", path).json()["items"] == []


def test_numbers_of_nodes_that_no_name_has_room_for_are_refused():
    with pytest.raises(ConfigError, match="--train-nodes: 101, expected a whole number in 1..100"):
        NodeOptions(train_nodes=101)
