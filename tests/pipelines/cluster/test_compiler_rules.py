"""The rules of KFP's compiler and driver find what they are there for."""

import copy
import json

import pytest
import yaml

from pipelines.compilation import (
    LABELLING_YAML,
    PREDICT_BATCH_YAML,
    SEGMENTATION_YAML,
    SWEEP_YAML,
)
from tests.emulators.cluster_rules import problems
from tests.emulators.compiler_rules import scalars_that_go_reads_otherwise

LOOP = "for-loop-1"


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


def _tasks(specification):
    return specification["root"]["dag"]["tasks"]


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
    container = specification["deploymentSpec"]["executors"]["exec-train"]["container"]
    container["resources"]["resourceMemoryLimit"] = ""


def _selector_as_text(specification, platform):
    _root(specification, "train_node_selector").update(parameterType="STRING", defaultValue="{}")


def _tolerations_as_text(specification, platform):
    _root(specification, "train_tolerations").update(parameterType="STRING", defaultValue="[]")


def _wrong_default(specification, platform):
    _root(specification, "seed")["defaultValue"] = "0"


def _optional_without_default(specification, platform):
    _root(specification, "source")["isOptional"] = True


def _text_for_a_truth(specification, platform):
    _root(specification, "apply").update(parameterType="STRING", defaultValue="no")


def _placeholder_inside_a_text(specification, platform):
    parameters = _tasks(specification)["deploy"]["inputs"]["parameters"]
    parameters["model_name"] = {"runtimeValue": {"constant": "run {{$.pipeline_job_name}}"}}


def _shared_memory_size(specification, platform):
    _settings(platform, "train")["emptyDirMounts"][0]["sizeLimit"] = "8 GB"


def _label(specification, platform):
    _settings(platform, "train")["podMetadata"]["labels"]["app"] = "a label?"


def _deadline(specification, platform):
    _settings(platform, "train")["activeDeadlineSeconds"] = "0"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_named_loop, "a group with a name, by which it is not found"),
        (_unknown_producer, "artifact checkpoints comes from train, elsewhere"),
        (_unknown_output, "artifact checkpoints is no output of for-loop-1"),
        (_unknown_group_artifact, "pipelinechannel--split-train, which its group lacks"),
        (_unknown_upstream, "waits for convert_labels, which is not in its group"),
        (_loop_without_items, "loops over pipelinechannel--override_sets, which is not passed"),
        (_same_container, "the same container as comp-choose, whose interface"),
        (_importer, "comp-split: no container executor"),
        (_old_schema, "schema version 2.0.0"),
        (_capital_name, "no Kubernetes name"),
        (_long_task_name, "is invalid for an Argo template"),
        (_no_secret_name, "comp-train: its secret's name is empty by default"),
        (_empty_memory, "resourceMemoryLimit is '', no quantity"),
        (_selector_as_text, "its node selector is no mapping"),
        (_tolerations_as_text, "its tolerations are neither a list nor a mapping"),
        (_wrong_default, "the default of seed is no NUMBER_INTEGER"),
        (_optional_without_default, "source is optional and has no default"),
        (_text_for_a_truth, "apply is a STRING, and should be a BOOLEAN"),
        (_placeholder_inside_a_text, "model_name is the literal text run {{$.pipeline_job_name}}"),
        (_shared_memory_size, "the driver panics at size 8 GB"),
        (_label, "label app is 'a label?', which Kubernetes refuses"),
        (_deadline, "a deadline that the driver ignores"),
    ],
)
def test_the_rules_find(damage, told, documents):
    damage(*documents)
    found = _found(documents)
    assert any(told in problem for problem in found), found


def _found(documents) -> list[str]:
    from tests.emulators.compiler_rules import compiler_problems
    from tests.emulators.driver_rules import driver_problems

    # Not `problems`: what is damaged need not be a pipeline any more to the other rules.
    specification, platform = documents
    found = compiler_problems(specification)
    if found:
        return found
    return driver_problems(specification, platform)


def _outside_of_loops(settings):
    """Name parameters as the root does: inside of a loop they have a prefix."""
    return json.loads(json.dumps(settings).replace("pipelinechannel--", ""))


@pytest.mark.parametrize(
    "path",
    [SEGMENTATION_YAML, SWEEP_YAML, LABELLING_YAML, PREDICT_BATCH_YAML],
    ids=lambda path: path.stem,
)
def test_go_reads_every_text_of_the_file_as_a_text(path):
    assert scalars_that_go_reads_otherwise(path.read_text(encoding="utf-8")) == []


def test_a_version_that_go_would_read_as_a_number_is_found():
    assert scalars_that_go_reads_otherwise("a: 12e456789012\nb: '12e4'\nc: 3\n") == ["12e456789012"]


def test_every_step_of_the_sweep_has_the_settings_of_the_pipeline_s():
    """What a cluster is told of a step must not depend on which pipeline it is in."""
    one, many = (_load(path) for path in (SEGMENTATION_YAML, SWEEP_YAML))
    for name in ("convert-labels", "split", "train", "evaluate", "export", "deploy"):
        settings = [_outside_of_loops(_settings(item[1], name)) for item in (one, many)]
        assert settings[0] == settings[1], name
        assert _container(one[0], name) == _container(many[0], name), name
    configurations = [item[1]["platforms"]["kubernetes"]["pipelineConfig"] for item in (one, many)]
    assert configurations[0] == configurations[1]


@pytest.mark.parametrize(
    ("path", "groups"), [(SEGMENTATION_YAML, set()), (SWEEP_YAML, {LOOP})], ids=["one", "sweep"]
)
def test_the_run_page_shows_every_step_beside_the_others(path, groups):
    """A group is one box on the run page and hides its steps; only the sweep's loop is one."""
    specification, _platform = _load(path)
    tasks = _tasks(specification)
    steps = {name for name in tasks if "dag" not in specification["components"][f"comp-{name}"]}
    assert set(tasks) - steps == groups
    assert {"check-deployment", "convert-labels", "split", "evaluate", "export", "deploy"} <= steps


@pytest.mark.parametrize("path", [SEGMENTATION_YAML, SWEEP_YAML], ids=lambda path: path.stem)
def test_check_and_deploy_are_never_cached_and_no_step_is_retried_by_kfp(path):
    """KFP merges its own policy, OnError, into set_retry: a step that fails is not run again."""
    tasks = _tasks(_load(path)[0])
    for name in ("check-deployment", "deploy"):
        assert not tasks[name]["cachingOptions"].get("enableCache"), name
    assert not any("retryPolicy" in task for task in tasks.values())


def test_labelling_looks_at_the_server_each_time():
    """Annotators work between two runs: neither step is taken from KFP's cache."""
    tasks = _tasks(_load(LABELLING_YAML)[0])
    assert set(tasks) == {"convert-labels", "propose"}
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks.values())
