"""A V2 message of gRPC to a prediction and back; all of it in a worker thread, as bytes."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from numpy.typing import NDArray

from serving.json_body import check_reply_values, check_values
from serving.prediction import PredictionRequest, predict
from serving.protobuf_check import check_message
from serving.refusals import BadInput
from serving.served_model import ServedModel
from serving.tensors import Tensor, check_output_names, output_tensors, read_pictures
from serving.threshold import THRESHOLD, read_threshold

_CONTENTS = {"UINT8": "uint_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}
# InferParameter.double_param, which Triton's clients send and KServe's message does not have:
# its number and wire type. Source: the Open Inference Protocol's grpc_service.proto of Triton.
_DOUBLE = (4, 1)


def infer(
    served: ServedModel, body: bytes, max_pixels: int, check_version: Callable[[str, str], None]
) -> bytes:
    """Answers a ModelInferRequest with a ModelInferResponse, both serialised.

    Args:
        served: The model.
        body: The request.
        max_pixels: Of one request.
        check_version: Refuses a model, or a version of it, that is not served.

    Raises:
        Refusal: whatever is wrong with the request.
    """
    request = _parse(body)
    check_version(request.model_name, request.model_version)
    names = check_output_names([output.name for output in request.outputs])
    pictures = read_pictures(_read_tensors(request), max_pixels)
    wanted = PredictionRequest(
        pictures,
        wants_probability="probability" in names,
        threshold=read_threshold(_parameter(request.parameters, THRESHOLD)),
        is_stacked=True,
    )
    predictions = predict(served, wanted, max_pixels)
    reply = messages.ModelInferResponse(
        model_name=served.name, model_version=served.version, id=request.id
    )
    reply.parameters["digest"].string_param = served.digest
    reply.parameters["engine"].string_param = served.engine
    is_raw = bool(request.raw_input_contents)
    for name, datatype, array in output_tensors(predictions, names):
        output = reply.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if is_raw:
            reply.raw_output_contents.append(array.tobytes())
        else:
            _fill_contents(output, datatype, array)
    return bytes(reply.SerializeToString())


def _parse(body: bytes) -> Any:
    check_message(body, messages.ModelInferRequest.DESCRIPTOR)
    try:
        return messages.ModelInferRequest.FromString(body)
    except DecodeError as error:
        raise BadInput("not a ModelInferRequest: malformed protobuf") from error


def _read_tensors(request: Any) -> list[Tensor]:
    raws: Sequence[bytes] = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        raise BadInput(f"{len(raws)} raw_input_contents, expected {len(request.inputs)}")
    tensors = []
    for index, item in enumerate(request.inputs):
        datatype, shape = item.datatype.upper(), tuple(item.shape)
        if raws:
            if item.contents.ListFields():
                raise BadInput(f"inputs[{index}]: contents beside raw_input_contents")
            tensors.append(Tensor(item.name, datatype, shape, raw=raws[index]))
        else:
            field = _CONTENTS.get(datatype)
            contents = getattr(item.contents, field) if field else ()
            check_values(len(contents))
            values = list(contents)
            tensors.append(Tensor(item.name, datatype, shape, values=values))
    return tensors


def _parameter(parameters: Any, name: str) -> Any:
    """Returns a parameter's value, None where there is none, and no text where it has no value."""
    if name not in parameters:
        return None
    parameter = parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    if kind is not None:
        return getattr(parameter, kind)
    for field in UnknownFieldSet(parameter):
        if (field.field_number, field.wire_type) == _DOUBLE:
            return struct.unpack("<d", struct.pack("<Q", field.data))[0]
    return ""


def _fill_contents(output: Any, datatype: str, array: NDArray[Any]) -> None:
    check_reply_values(array.size)
    getattr(output.contents, _CONTENTS[datatype]).extend(array.ravel().tolist())
