"""The KServe model: what KServe's registry, readiness and data plane know of the served model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kserve import Model
from kserve.errors import ModelNotFound
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from segmentor import __version__
from segmentor.contract import INPUT_NAME, OUTPUT_NAME
from serving.admission import Admission
from serving.body_budget import BodyBudget
from serving.engines import EXACT
from serving.paced_reply import REPLY_BUDGET
from serving.refusals import Fixed, NotFound, NotReady
from serving.served_model import ServedModel
from serving.tensors import MASK_NAME

T = TypeVar("T")


@dataclass(frozen=True)
class Job(Generic[T]):
    """What a way in asks for: from reading its body to encoding its reply, given the model."""

    work: Callable[[ServedModel], T]


class SegmentationModel(Model):
    """A loaded segmentation model. Its payload is a Job: one hop to a worker thread does it all.

    KServe calls a plain `predict` on its event loop, where it would freeze health probes for the
    whole inference; and three hops, one a handler, would keep more decoded images in memory.
    """

    def __init__(self, served: ServedModel, admission: Admission, bodies: BodyBudget) -> None:
        super().__init__(served.name)
        self.served = served
        self.admission = admission
        self.bodies = bodies
        self.replies = BodyBudget(REPLY_BUDGET, "replies")
        self.ready = True

    def load(self) -> bool:
        """Tells whether the model is ready; it was loaded before the server was made."""
        return bool(self.ready)

    def start(self) -> None:
        """Does nothing: KServe's own would set `ready` whatever the state."""

    async def predict(
        self, payload: Job[Any], headers: Any = None, response_headers: Any = None
    ) -> Any:
        """Does the job in a worker thread."""
        return await self.admission.run(lambda: payload.work(self.served))

    def get_input_types(self) -> list[dict[str, Any]]:
        """Returns the V2 metadata of the input; FP32 NCHW and BYTES are taken too."""
        return [{"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Returns the V2 metadata of the outputs."""
        channels = self.served.contract.channels
        return [
            {"name": MASK_NAME, "datatype": "UINT8", "shape": [-1, -1, -1]},
            {"name": OUTPUT_NAME, "datatype": "FP32", "shape": [-1, channels, -1, -1]},
        ]


class HonestDataPlane(DataPlane):
    """KServe's data plane, where ready means ready and no request loads a model.

    Stock, `/v2/health/ready` is always true and `get_model` loads what is not ready, on the loop.
    """

    async def ready(self) -> bool:
        """True when there is a model and it is healthy."""
        models = list(self.model_registry.get_models().values())
        return bool(models) and all([await model.healthy() for model in models])

    async def model_ready(
        self, model_name: str, disable_predictor_health_check: bool = False
    ) -> bool:
        """True when the model is healthy.

        Raises:
            NotFound: no such model.
        """
        return bool(await self.get_model_from_registry(model_name).healthy())

    async def get_model(self, name: str) -> SegmentationModel:
        """Returns a model that is ready.

        Raises:
            NotFound: no such model.
            NotReady: it is not ready.
        """
        model = self.get_model_from_registry(name)
        if not await model.healthy():
            raise NotReady(f"model '{name[:80]}' is not ready")
        return model

    def get_model_from_registry(self, name: str) -> SegmentationModel:
        """Returns a model, ready or not.

        Raises:
            NotFound: no such model; the message names what there is.
        """
        try:
            model: SegmentationModel = super().get_model_from_registry(name)
        except ModelNotFound as error:
            names = ", ".join(self.model_registry.get_models())
            raise NotFound(f"no model '{name[:80]}' here, but {names}") from error
        return model

    def check_version(self, name: str, version: str) -> None:
        """Checks that a version that was asked for is the one served; none asked for is.

        Raises:
            NotFound: another version, or no such model.
        """
        served = self.get_model_from_registry(name).served.version
        if version not in ("", served):
            raise NotFound(f"no version '{version[:80]}' of '{name[:80]}' here, but {served}")

    def metadata(self) -> dict[str, Any]:
        """Returns what the server is; stock, it names KServe, and an extension we refuse."""
        extensions = ["binary_tensor_data"]
        return {"name": "segmentor", "version": __version__, "extensions": extensions}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """Returns KServe's metadata, with version, platform, and what a client's page needs."""
        metadata: dict[str, Any] = await super().model_metadata(model_name)
        served = self.get_model_from_registry(model_name).served
        contract = served.contract
        parameters: dict[str, Any] = {"digest": served.digest, "engine": served.engine}
        parameters["classes"] = list(contract.label_map.names)
        if contract.is_binary:
            parameters["threshold"] = contract.threshold
        return {
            **metadata,
            "versions": [served.version],
            "platform": "onnx_onnxruntime" if served.engine == EXACT else "onnx_openvino",
            "parameters": parameters,
        }

    async def do(self, model_name: str, job: Job[T]) -> T:
        """Does a job with a model.

        Raises:
            Refusal: no such model, not ready, or what the job refuses.
        """
        result, _ = await self.infer(model_name, job)
        reply: T = result
        return reply


class FixedRepository(ModelRepositoryExtension):
    """No loading and unloading: stock, anybody may unload the model, and the pod stays 'ready'."""

    async def load(self, model_name: str) -> None:
        """Refuses.

        Raises:
            Fixed: always.
        """
        raise Fixed("the model is fixed at start; deploy another version instead")

    async def unload(self, model_name: str) -> None:
        """Refuses.

        Raises:
            Fixed: always.
        """
        await self.load(model_name)
