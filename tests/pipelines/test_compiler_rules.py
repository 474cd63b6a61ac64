"""The rules of KFP's compiler and driver find what they are there for."""

import copy

import pytest
import yaml
from cluster_rules import problems
from compiler_rules import scalars_that_go_reads_otherwise

from pipelines.compilation import SEGMENTATION_YAML, SWEEP_YAML

GROUP = "comp-exit-handler-1"
LOOP = "for-loop-2"


def _load(path):
    return list(yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader))


@pytest.fixture(scope="module")
def sweep():
    documents = _load(SWEEP_YAML)
    assert problems(*documents) == []
    return documents


@pytest.fixture
def documents(sweep):
    return copy.deepcopy(sweep)


def _tasks(specification, group=GROUP):
    return specification["components"][group]["dag"]["tasks"]


def _container(specification, name):
    return specification["deploymentSpec"]["executors"][f"exec-{name}"]["container"]


def _root(specification, name):
    return specification["root"]["inputDefinitions"]["parameters"][name]


def _settings(platform, name):
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return executors[f"exec-{name}"]


def _named_loop(specification, platform):
    _tasks(specification)[LOOP]["taskInfo"]["name"] = "trainings"


def _unknown_producer(specification, platform):
    inputs = _tasks(specification)["choose"]["inputs"]["artifacts"]["checkpoints"]
    inputs["taskOutputArtifact"]["producerTask"] = "train"


def _unknown_output(specification, platform):
    inputs = _tasks(specification)["choose"]["inputs"]["artifacts"]["checkpoints"]
    inputs["taskOutputArtifact"]["outputArtifactKey"] = "checkpoint"


def _unknown_group_artifact(specification, platform):
    component = _tasks(specification)[LOOP]["componentRef"]["name"]
    del specification["components"][component]["inputDefinitions"]["artifacts"]


def _unknown_upstream(specification, platform):
    _tasks(specification)["split"]["dependentTasks"] = ["convert_labels"]


def _loop_without_items(specification, platform):
    del _tasks(specification)[LOOP]["inputs"]["parameters"]["pipelinechannel--override_sets"]


def _exit_task_of_a_loop(specification, platform):
    _tasks(specification, GROUP)["summary"] = {
        **copy.deepcopy(specification["root"]["dag"]["tasks"]["summarise"]),
        "dependentTasks": [LOOP],
    }


def _state_of_another_task(specification, platform):
    status = specification["root"]["dag"]["tasks"]["summarise"]["inputs"]["parameters"]["status"]
    status["taskFinalStatus"]["producerTask"] = "deploy"


def _nothing_to_guard(specification, platform):
    del specification["root"]["dag"]["tasks"]["exit-handler-1"]


def _same_container(specification, platform):
    executors = specification["deploymentSpec"]["executors"]
    executors["exec-choose"] = copy.deepcopy(executors["exec-split"])


def _importer(specification, platform):
    specification["deploymentSpec"]["executors"]["exec-split"] = {"importer": {}}


def _old_schema(specification, platform):
    specification["schemaVersion"] = "2.0.0"


def _capital_name(specification, platform):
    specification["pipelineInfo"]["name"] = "Sweep"


def _long_task_name(specification, platform):
    tasks = _tasks(specification)
    tasks["deploy_" + "x" * 130] = tasks.pop("deploy")


def _no_secret_name(specification, platform):
    _root(specification, "object_store_secret")["defaultValue"] = ""


def _empty_memory(specification, platform):
    _root(specification, "train_memory")["defaultValue"] = ""


def _selector_as_text(specification, platform):
    _root(specification, "train_node_selector").update(parameterType="STRING", defaultValue="{}")


def _tolerations_as_text(specification, platform):
    _root(specification, "train_tolerations").update(parameterType="STRING", defaultValue="[]")


def _wrong_default(specification, platform):
    _root(specification, "seed")["defaultValue"] = "0"


def _optional_without_default(specification, platform):
    _root(specification, "source")["isOptional"] = True


def _text_for_a_truth(specification, platform):
    inputs = specification["components"][GROUP]["inputDefinitions"]["parameters"]
    inputs["pipelinechannel--apply"]["parameterType"] = "STRING"


def _placeholder_inside_a_text(specification, platform):
    parameters = specification["root"]["dag"]["tasks"]["summarise"]["inputs"]["parameters"]
    parameters["run_name"]["runtimeValue"]["constant"] = "run {{$.pipeline_job_name}}"


def _shared_memory_size(specification, platform):
    _settings(platform, "train")["emptyDirMounts"][0]["sizeLimit"] = "8 GB"


def _label(specification, platform):
    _settings(platform, "train")["podMetadata"]["labels"]["app"] = "a label?"


def _deadline(specification, platform):
    _settings(platform, "train")["activeDeadlineSeconds"] = "0"


def _backoff(specification, platform):
    _tasks(specification)["convert-labels"]["retryPolicy"]["backoffDuration"] = "30"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_named_loop, "a group with a name, by which it is not found"),
        (_unknown_producer, "artifact checkpoints comes from train, elsewhere"),
        (_unknown_output, "artifact checkpoints is no output of for-loop-2"),
        (_unknown_group_artifact, "pipelinechannel--split-train, which its group lacks"),
        (_unknown_upstream, "waits for convert_labels, which is not in its group"),
        (_loop_without_items, "loops over pipelinechannel--override_sets, which is not passed"),
        (_exit_task_of_a_loop, "a loop itself is given no exit hook"),
        (_state_of_another_task, "status is the state of the first task it waits for"),
        (_nothing_to_guard, "root: nothing but exit tasks"),
        (_same_container, "the same container as comp-choose, whose interface"),
        (_importer, "comp-split: no container executor"),
        (_old_schema, "schema version 2.0.0"),
        (_capital_name, "no Kubernetes name"),
        (_long_task_name, "is none for an Argo template"),
        (_no_secret_name, "comp-train: its secret's name is empty by default"),
        (_empty_memory, "resourceMemoryLimit is '', no quantity"),
        (_selector_as_text, "its node selector is no mapping"),
        (_tolerations_as_text, "its tolerations are neither a list nor a mapping"),
        (_wrong_default, "the default of seed is no NUMBER_INTEGER"),
        (_optional_without_default, "source is optional and has no default"),
        (_text_for_a_truth, "apply is a STRING, and should be a BOOLEAN"),
        (_placeholder_inside_a_text, "run_name is the literal text run {{$.pipeline_job_name}}"),
        (_shared_memory_size, "the driver panics at size 8 GB"),
        (_label, "label app is 'a label?', which Kubernetes refuses"),
        (_deadline, "a deadline that the driver ignores"),
        (_backoff, "convert-labels: backoff 30"),
    ],
)
def test_the_rules_find(damage, told, documents):
    damage(*documents)
    found = _found(documents)
    assert any(told in problem for problem in found), found


def _found(documents) -> list[str]:
    from compiler_rules import compiler_problems
    from driver_rules import driver_problems, retry_problems

    # Not `problems`: what is damaged need not be a pipeline any more to the other rules.
    specification, platform = documents
    found = compiler_problems(specification)
    if found:
        return found
    return [*driver_problems(specification, platform), *retry_problems(specification)]


@pytest.mark.parametrize("path", [SEGMENTATION_YAML, SWEEP_YAML], ids=lambda path: path.stem)
def test_go_reads_every_text_of_the_file_as_a_text(path):
    assert scalars_that_go_reads_otherwise(path.read_text(encoding="utf-8")) == []


def test_a_version_that_go_would_read_as_a_number_is_found():
    assert scalars_that_go_reads_otherwise("a: 12e456789012\nb: '12e4'\nc: 3\n") == ["12e456789012"]


def test_every_step_of_the_sweep_has_the_settings_of_the_pipeline_s():
    """What a cluster is told of a step must not depend on which pipeline it is in."""
    one, many = (_load(path) for path in (SEGMENTATION_YAML, SWEEP_YAML))
    for name in ("convert-labels", "split", "train", "evaluate", "export", "deploy", "summarise"):
        assert _settings(one[1], name) == _settings(many[1], name), name
        assert _container(one[0], name) == _container(many[0], name), name
    configurations = [item[1]["platforms"]["kubernetes"]["pipelineConfig"] for item in (one, many)]
    assert configurations[0] == configurations[1]


def test_what_must_not_be_cached_or_repeated_is_not_in_either_pipeline():
    for path in (SEGMENTATION_YAML, SWEEP_YAML):
        specification = _load(path)[0]
        tasks = {**specification["root"]["dag"]["tasks"], **_tasks(specification)}
        for name in ("check-deployment", "deploy", "summarise"):
            assert not tasks[name]["cachingOptions"].get("enableCache"), name
        repeated = {name for name, task in tasks.items() if "retryPolicy" in task}
        assert repeated == {"check-deployment", "convert-labels"}
        assert tasks["convert-labels"]["retryPolicy"]["maxRetryCount"] == 2
