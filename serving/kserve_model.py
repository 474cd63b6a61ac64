"""The KServe model and KServe's repository that holds it.

A request takes three of the four verbs of a server: a way in (http/v1.py, http/v2.py,
grpc/service.py) decodes its body and encodes its reply, and prediction.py predicts between them.
The fourth, load, is engines/loading.py; it is done before a port is open.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from kserve import Model
from kserve.model_repository import ModelRepository
from kserve.protocol.rest.v2_datamodels import ModelMetadataResponse

from segmentor import __version__
from segmentor.contract import INPUT_NAME
from segmentor.output_forms import Prediction, tensor_forms
from segmentor.pixel_conversion import WHITE
from serving.admission import Admission
from serving.budgets import ByteBudget
from serving.engines.choice import EXACT
from serving.engines.loading import ServedModel
from serving.metrics import stage
from serving.prediction import PredictionRequest, predict
from serving.refusals import Fixed, NotFound, NotReady
from serving.settings import Limits

T = TypeVar("T")

Encode = Callable[[list[Prediction]], T]
# A body to what is to be predicted, and how the reply is encoded.
Decode = Callable[[bytes], tuple[PredictionRequest, Encode[T]]]


class ModelMetadata(ModelMetadataResponse):
    """KServe's metadata of a model with our additions: digest, engine, classes, threshold."""

    parameters: dict[str, Any]


class SegmentationModel(Model):
    """A loaded segmentation model behind its bounded queue."""

    def __init__(self, served: ServedModel, limits: Limits) -> None:
        super().__init__(served.name)
        self.served = served
        self.limits = limits
        self.admission = Admission(limits.workers, limits.queue_limit, limits.time_limit_s)
        self.bodies = ByteBudget(limits.body_budget, "requests")
        self.replies = ByteBudget(limits.reply_budget, "replies")
        self.ready = True

    async def answer(self, body: bytes, decode: Decode[T]) -> T:
        """Decode, predict and encode in one worker thread.

        KServe's own chain of handlers would change threads between them, or run them on the event
        loop, where they would block the health probes.

        Raises:
            Refusal: the queue is full, no result in time, or a body that is refused.
        """

        def work() -> T:
            request, encode = decode(body)
            predictions = predict(self.served, request, self.limits.max_pixels)
            with stage("encode"):
                return encode(predictions)

        async with self.admission.place():
            return await self.admission.run(work)

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the V2 metadata of the input; FP32 NCHW and BYTES are accepted too."""
        return [{"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the V2 metadata of the outputs."""
        channels = self.served.contract.channels
        return [
            {"name": name, "datatype": form.datatype, "shape": form.shape(channels)}
            for name, form in tensor_forms().items()
        ]

    def metadata(self) -> ModelMetadata:
        """Return the V2 metadata of the model."""
        served = self.served
        contract = served.contract
        parameters: dict[str, Any] = {"digest": served.digest, "engine": served.engine}
        parameters["classes"] = list(contract.label_map.names)
        if contract.is_binary:
            parameters["threshold"] = contract.threshold
        if contract.input.white != WHITE:
            parameters["white"] = contract.input.white
        return ModelMetadata(
            name=served.name,
            versions=[served.version],
            platform="onnx_onnxruntime" if served.engine == EXACT else "onnx_openvino",
            inputs=self.get_input_types(),
            outputs=self.get_output_types(),
            parameters=parameters,
        )


class FixedRepository(ModelRepository):
    """KServe's repository with the one model that is served; requests cannot change it."""

    def __init__(self, model: SegmentationModel) -> None:
        super().__init__()
        self.update(model)
        self.model = model

    def server_metadata(self) -> dict[str, Any]:
        """Return the V2 metadata of the server."""
        return {"name": "segmentor", "version": __version__, "extensions": ["binary_tensor_data"]}

    def find(self, name: str, version: str = "") -> SegmentationModel:
        """Return the model, ready or not; an empty version means any.

        Raises:
            NotFound: another name or version; the message says what is served.
        """
        if self.get_model(name) is None:
            raise NotFound(f"no model '{name[:80]}' here, but {', '.join(self.get_models())}")
        served = self.model.served.version
        if version not in ("", served):
            raise NotFound(f"no version '{version[:80]}' of '{name[:80]}' here, but {served}")
        return self.model

    async def find_ready(self, name: str, version: str = "") -> SegmentationModel:
        """Return the model if it is ready.

        Raises:
            NotFound: another name or version.
            NotReady: it is not ready.
        """
        model = self.find(name, version)
        if not await model.healthy():
            raise NotReady(f"model '{name[:80]}' is not ready")
        return model

    def load(self, name: str) -> bool:
        """Refuse to load a model: with KServe's own repository any request could.

        Raises:
            Fixed: always.
        """
        raise Fixed("the model is fixed at start; deploy another version instead")

    def unload(self, name: str) -> None:
        """Refuse to unload the model.

        Raises:
            Fixed: always.
        """
        self.load(name)
