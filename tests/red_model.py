"""The smallest model that can be served: the probability of `road` is the red of the pixel."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from segmentor.contract import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, InputSpec, ModelContract
from segmentor.digests import canonical_json
from segmentor.label_map import LabelMap
from segmentor.pixel_conversion import WHITE

LABEL_MAP = LabelMap.of(["background", "road"])


def write_red_model(folder: Path, threshold: float = 0.5, white: int = WHITE) -> Path:
    """Write model.onnx, with its contract inside, into a new folder; return the folder."""
    folder.mkdir(parents=True)
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Slice", ["planes", "from", "to", "axis"], ["red"]),
        helper.make_node("Div", ["red", "scale"], [OUTPUT_NAME]),
    ]
    constants = [
        helper.make_tensor("from", TensorProto.INT64, [1], [0]),
        helper.make_tensor("to", TensorProto.INT64, [1], [1]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("scale", TensorProto.FLOAT, [], [255.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["n", 1, "h", "w"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    spec = InputSpec((32, 32), size_policy="native", white=white)
    contract = ModelContract(LABEL_MAP, spec, threshold)
    helper.set_model_props(model, {METADATA_KEY: canonical_json(contract.to_json())})
    onnx.save(model, folder / "model.onnx")
    return folder
