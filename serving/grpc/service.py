"""V2 over gRPC: KServe's service, answered by our model."""

import struct
from collections.abc import Sequence
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceServicer
from numpy.typing import NDArray

from segmentor.output_forms import Prediction, needs
from serving.engines.loading import ServedModel
from serving.json_body import THRESHOLD, check_reply_values, check_values, read_threshold
from serving.kserve_model import Encode, FixedRepository
from serving.prediction import PredictionRequest
from serving.refusals import BadInput
from serving.v2_tensors import Tensor, check_output_names, output_tensors, read_pictures

_CONTENTS = {"UINT8": "uint_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}
# InferParameter.double_param: Triton's clients send it, KServe's message lacks it. Its field number
# and wire type. Source: the Open Inference Protocol's grpc_service.proto of Triton.
_DOUBLE = (4, 1)


class SegmentationServicer(GRPCInferenceServiceServicer):
    """The methods of KServe's service."""

    def __init__(self, repository: FixedRepository) -> None:
        self.repository = repository

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Return True: a server that answers is alive."""
        return messages.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Return whether the model is ready."""
        return messages.ServerReadyResponse(ready=await self.repository.model.healthy())

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Return whether the model, in the version asked for, is ready."""
        model = self.repository.find(request.name, request.version)
        return messages.ModelReadyResponse(ready=await model.healthy())

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Return the metadata of the server."""
        return messages.ServerMetadataResponse(**self.repository.server_metadata())

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Return the metadata of the model; KServe's message has no parameters."""
        metadata = self.repository.find(request.name, request.version).metadata()
        return messages.ModelMetadataResponse(**metadata.model_dump(exclude={"parameters"}))

    async def RepositoryModelLoad(  # noqa: N802 - gRPC's name
        self, request: Any, context: Any
    ) -> Any:
        """Refuse: the model is fixed at start."""
        self.repository.load(request.model_name)

    async def RepositoryModelUnload(  # noqa: N802 - gRPC's name
        self, request: Any, context: Any
    ) -> Any:
        """Refuse: the model is fixed at start."""
        self.repository.unload(request.model_name)

    async def ModelInfer(self, request: bytes, context: Any) -> bytes:  # noqa: N802 - gRPC's name
        """Infer a serialised request; parsing it is work for the model's threads."""
        model = await self.repository.find_ready(self.repository.model.name)
        with model.bodies.share() as share:
            share.add(len(request))
            return await model.answer(request, self.decode)

    def decode(self, body: bytes) -> tuple[PredictionRequest, Encode[bytes]]:
        """Decode a ModelInferRequest.

        Raises:
            BadInput: malformed, or a wrong tensor, output or parameter.
            NotFound: another model or version.
            TooLarge: too many pixels or list values.
        """
        try:
            request = messages.ModelInferRequest.FromString(body)
        except DecodeError as error:
            raise BadInput("not a ModelInferRequest: malformed protobuf") from error
        model = self.repository.find(request.model_name, request.model_version)
        names = check_output_names([output.name for output in request.outputs])
        wanted = PredictionRequest(
            read_pictures(_read_tensors(request), model.limits.max_pixels),
            needs(names),
            read_threshold(_parameter(request.parameters, THRESHOLD)),
            is_stacked=True,
        )
        return wanted, partial(
            encode, model.served, request.id, names, bool(request.raw_input_contents)
        )


def encode(
    served: ServedModel,
    identifier: str,
    names: Sequence[str],
    is_raw: bool,
    predictions: list[Prediction],
) -> bytes:
    """Encode predictions as a serialised ModelInferResponse; raw if the request was.

    Raises:
        TooLarge: too many numbers for contents that are not raw.
    """
    reply = messages.ModelInferResponse(
        model_name=served.name, model_version=served.version, id=identifier
    )
    reply.parameters["digest"].string_param = served.digest
    reply.parameters["engine"].string_param = served.engine
    for name, datatype, array in output_tensors(predictions, names):
        output = reply.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if is_raw:
            reply.raw_output_contents.append(array.tobytes())
        else:
            _fill_contents(output, datatype, array)
    return bytes(reply.SerializeToString())


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
            tensors.append(Tensor(item.name, datatype, shape, values=list(contents)))
    return tensors


def _parameter(parameters: Any, name: str) -> Any:
    """Return a parameter's value; None if it is missing, "" if it has no value."""
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
