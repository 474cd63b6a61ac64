"""Inputs of the deploy step: a small model with a contract, and what evaluate and export wrote."""

import json
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from segmentor.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, InputSpec, ModelContract
from segmentor.digests import digest_file
from segmentor.label_map import LabelMap

CHECKPOINT = "sha256:" + "c" * 64
TEST_SET = "sha256:" + "d" * 64


def write_model(
    folder: Path,
    names=("background", "road"),
    gain: float = 1.0,
    checkpoint: str = CHECKPOINT,
    fault: str = "",
    precision: str = "",
) -> str:
    """Write model.onnx: the probability of class 1 is the red channel; return its digest.

    `fault`: 'noise' adds what differs from call to call, 'shape' fails at most sizes. `precision`:
    what its provenance says of it.
    """
    provenance = {"checkpoint_digest": checkpoint}
    if precision:
        provenance["model_precision"] = precision
    contract = ModelContract(
        LabelMap.of(names), InputSpec((32, 64), "native"), provenance=provenance
    )
    channels = contract.channels
    weight = np.zeros((channels, 3, 1, 1), np.float32)
    weight[:, 0] = gain / 255
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["chw", "weight"], ["sum" if fault else OUTPUT_NAME]),
    ]
    initializers = [numpy_helper.from_array(weight, "weight")]
    if fault == "noise":
        nodes.append(helper.make_node("RandomUniformLike", ["sum"], [OUTPUT_NAME]))
    elif fault == "shape":
        initializers.append(numpy_helper.from_array(np.array([1, channels, 32, 64]), "shape"))
        nodes.append(helper.make_node("Reshape", ["sum", "shape"], [OUTPUT_NAME]))
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", channels, "h", "w"])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(contract.to_json())})
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    return digest_file(folder / "model.onnx")


def write_evaluation(folder: Path, scores=None, names=("background", "road"), **changes) -> None:
    """Write evaluation.json and per_image.csv; `scores` is the IoU of each image."""
    scores = scores or {f"image-{index}": 0.9 + index / 100 for index in range(8)}
    value = {
        "schema_version": 1,
        "checkpoint_digest": CHECKPOINT,
        "dataset_digest": TEST_SET,
        "label_map": LabelMap.of(names).to_json(),
        "threshold": 0.5,
        "samples": len(scores),
        "dataset": {"iou": 0.93, "mean_iou": 0.95, "mean_dice": 0.97, "pixel_accuracy": 0.98},
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(value))
    rows = [f"{name},group-{i // 2},{1 - s},{s}" for i, (name, s) in enumerate(scores.items())]
    (folder / "per_image.csv").write_text("\n".join(["image,group,dice_loss,iou_score", *rows]))


def write_parity(path: Path, digest: str, **changes) -> None:
    """Write the metrics of export."""
    value = {
        "max_probability_difference": 2e-7,
        "flipped_pixels": 0,
        "pixels": 1_000_000,
        "flipped_fraction": 0.0,
        "images": 8,
        "sizes": 4,
        "model_digest": digest,
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_inputs(folder: Path, **changes) -> list[str]:
    """Write all three inputs and return the flags that name them."""
    evaluation = changes.pop("evaluation", {})
    parity = changes.pop("parity", {})
    digest = write_model(folder / "model", **changes)
    write_evaluation(folder / "evaluation", **evaluation)
    write_parity(folder / "parity.json", digest, **parity)
    return [
        *("--model", str(folder / "model")),
        *("--evaluation", str(folder / "evaluation")),
        *("--parity", str(folder / "parity.json")),
        *("--deployment", str(folder / "deployment")),
        *("--deployment-report", str(folder / "deployment_report")),
    ]


def write_artifacts(folder: Path, scores=None, **model) -> tuple[Path, Path, Path, Path, Path]:
    """Write all three inputs; return their paths, and those of the outputs."""
    digest = write_model(folder / "model", **model)
    write_evaluation(folder / "evaluation", scores)
    write_parity(folder / "parity.json", digest)
    inputs = folder / "model", folder / "evaluation", folder / "parity.json"
    return *inputs, folder / "deployment", folder / "deployment_report"


def scaled(namespace: str, count: int) -> dict:
    """Return what an operator applies who scales the InferenceService `road`."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "road", "namespace": namespace},
        "spec": {
            "predictor": {
                "minReplicas": count,
                "model": {"modelFormat": {"name": "onnx-segmentation"}},
            }
        },
    }


def serving_runtime(image: str = "segmentor-predictor:0.1.0") -> dict:
    """Return the ServingRuntime of manifests/base with a container image."""
    text = (Path(__file__).parents[3] / "manifests/base/serving_runtime.yaml").read_text()
    manifest = yaml.safe_load(text)
    manifest["spec"]["containers"][0]["image"] = image
    return manifest
