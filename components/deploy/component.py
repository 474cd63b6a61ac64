"""KFP's specifications of deploy, and of the check of what it will be asked for."""

from typing import Any

from kfp import dsl

from components.container_images import DATA


def _flags(**values: Any) -> list[Any]:
    """Puts each value behind its flag; defined first, as KFP calls what follows to read it."""
    return [
        part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", value)
    ]


@dsl.container_component
def check_deployment(
    name: str,
    destination: str,
    version: str,
    namespace: str,
    service_account: str,
    min_iou: float,
    max_probability_difference: float,
    max_flipped_fraction: float,
    max_iou_drop: float,
    predictor_image: str,
    apply: bool,
    deadline: int,
    size_policy: str,
    precision: str,
):
    """Looks at what deploy will be asked for, and asks the store and the cluster, before training.

    Args:
        name: Name of the model and of its InferenceService.
        destination: Where models are published: s3://<bucket> or s3://<bucket>/<prefix>.
        version: Version to publish under; empty takes the first 12 digits of the model's digest.
        namespace: Kubernetes namespace of the InferenceService.
        service_account: Service account of the InferenceService; empty takes the namespace's own.
        min_iou: The gate: least IoU on the test set.
        max_probability_difference: The gate: largest difference of probability of torch and ONNX.
        max_flipped_fraction: The gate: largest share of pixels that differ between torch and ONNX.
        max_iou_drop: The gate: how much worse than the served version the model may surely be.
        predictor_image: Container image to put into the ServingRuntime; empty leaves it alone.
        apply: Apply the InferenceService and wait for it; otherwise only write its manifest.
        deadline: Seconds that the model has to become ready.
        size_policy: What export will be asked for: 'trained', 'resize' or 'native'.
        precision: What export will be asked for: 'float32', 'int8' or 'both'.
    """
    return dsl.ContainerSpec(
        image=DATA,
        command=["python", "-m", "components.deploy.check"],
        args=[
            "--executor-input",
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            *_flags(
                name=name,
                destination=destination,
                version=version,
                namespace=namespace,
                service_account=service_account,
                min_iou=min_iou,
                max_probability_difference=max_probability_difference,
                max_flipped_fraction=max_flipped_fraction,
                max_iou_drop=max_iou_drop,
                predictor_image=predictor_image,
                apply=apply,
                deadline=deadline,
                size_policy=size_policy,
                precision=precision,
            ),
        ],
    )


@dsl.container_component
def deploy(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    parity: dsl.Input[dsl.Metrics],
    test: dsl.Input[dsl.Dataset],
    deployment: dsl.Output[dsl.Artifact],
    name: str,
    destination: str,
    version: str,
    namespace: str,
    service_account: str,
    min_iou: float,
    max_probability_difference: float,
    max_flipped_fraction: float,
    max_iou_drop: float,
    predictor_image: str,
    apply: bool,
    deadline: int,
):
    """Passes the gate, publishes the model under an immutable version, and makes KServe serve it.

    Args:
        model: The folder with model.onnx.
        evaluation: What evaluate measured.
        parity: What export measured.
        test: The test set, of which the golden request sends images to the served model.
        deployment: inference_service.yaml and deployment.json.
        name: Name of the model and of its InferenceService.
        destination: Where models are published: s3://<bucket> or s3://<bucket>/<prefix>.
        version: Version to publish under; empty takes the first 12 digits of the model's digest.
        namespace: Kubernetes namespace of the InferenceService.
        service_account: Service account of the InferenceService; empty takes the namespace's own.
        min_iou: The gate: least IoU on the test set.
        max_probability_difference: The gate: largest difference of probability of torch and ONNX.
        max_flipped_fraction: The gate: largest share of pixels that differ between torch and ONNX.
        max_iou_drop: The gate: how much worse than the served version the model may surely be.
        predictor_image: Container image to put into the ServingRuntime; empty leaves it alone.
        apply: Apply the InferenceService and wait for it; otherwise only write its manifest.
        deadline: Seconds that the model has to become ready.
    """
    return dsl.ContainerSpec(
        image=DATA,
        command=["python", "-m", "components.deploy"],
        args=[
            "--executor-input",
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            "--model",
            model.path,
            "--evaluation",
            evaluation.path,
            "--parity",
            parity.path,
            "--test",
            test.path,
            *_flags(
                name=name,
                destination=destination,
                version=version,
                namespace=namespace,
                service_account=service_account,
                min_iou=min_iou,
                max_probability_difference=max_probability_difference,
                max_flipped_fraction=max_flipped_fraction,
                max_iou_drop=max_iou_drop,
                predictor_image=predictor_image,
                apply=apply,
                deadline=deadline,
            ),
            "--deployment",
            deployment.path,
        ],
    )
