"""Segmentor: open models, data sets and runs, predict images, compare runs.

    import segmentor

    model = segmentor.open_model("outputs/2026-01-31/09-30-00")  # or a file, s3://, http://
    prediction = model.predict("photograph.jpg")
    prediction.mask, prediction.probability, prediction.overlay()

The package is also the shared library of the steps and the predictor. No torch outside
`segmentor.nn`, no kfp anywhere. Dimension letters used in shape comments: N batch, H and W source
height and width, h and w network height and width, C classes (1 when the model is binary), K
classes of the label map. Sizes are always `(height, width)`, points `(y, x)`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segmentor.comparison import Comparison, compare
    from segmentor.dataset import Dataset, open_dataset
    from segmentor.errors import SegmentorError
    from segmentor.model import Model, Prediction, open_model
    from segmentor.run_record import RunRecord, read_run

__version__ = "0.1.0"
# Where each public name is: a step that needs the errors alone must not import onnxruntime.
_PLACES = {
    "Comparison": "comparison",
    "Dataset": "dataset",
    "Model": "model",
    "Prediction": "model",
    "RunRecord": "run_record",
    "SegmentorError": "errors",
    "compare": "comparison",
    "open_dataset": "dataset",
    "open_model": "model",
    "read_run": "run_record",
}
__all__ = [
    "Comparison",
    "Dataset",
    "Model",
    "Prediction",
    "RunRecord",
    "SegmentorError",
    "compare",
    "open_dataset",
    "open_model",
    "read_run",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"segmentor.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'segmentor' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
