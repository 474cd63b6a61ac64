"""KFP's specifications of deploy, and of the check of what it will be asked for."""

from kfp import dsl

from components.component import step_component
from components.container_images import DATA
from components.deploy.options import DeployOptions, SourceOptions
from components.export.options import ExportOptions
from components.node_options import NodeOptions


@step_component(
    *(DATA, DeployOptions, ExportOptions, SourceOptions, NodeOptions),
    module="components.deploy.check",
)
def check_deployment(
    source_state: dsl.OutputPath(str),  # type: ignore[valid-type]
    train_step_cpu: dsl.OutputPath(str),  # type: ignore[valid-type]
    train_step_memory: dsl.OutputPath(str),  # type: ignore[valid-type]
    train_step_accelerators: dsl.OutputPath(str),  # type: ignore[valid-type]
) -> None:
    """Look at what deploy will be asked for, and ask the store and the cluster, before training.

    KFP runs it each time: the store, the cluster and the source may have changed.

    Args:
        source_state: What the source is today; another one makes convert_labels run again.
        train_step_cpu: CPUs of the train step's own pod, which with several nodes only watches.
        train_step_memory: Its memory.
        train_step_accelerators: Its accelerators.
    """


@step_component(DATA, DeployOptions)
def deploy(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    parity: dsl.Input[dsl.Metrics],
    test: dsl.Input[dsl.Dataset],
    deployment: dsl.Output[dsl.Artifact],
    deployment_report: dsl.Output[dsl.HTML],
) -> None:
    """Pass the gate, publish the model under an immutable version, and make KServe serve it.

    Args:
        model: The folder with model.onnx.
        evaluation: What evaluate measured.
        parity: What export measured.
        test: The test set, of which the golden request sends images to the served model.
        deployment: inference_service.yaml and deployment.json.
        deployment_report: The gate, figures, what is served, golden images and how to ask.
    """
