"""A detection function for CVAT: `cvat-cli task auto-annotate`, and agents where a server has them.

    cvat-cli task auto-annotate 12 --function-module segmentor.cvat.function \
        -p model=str:s3://models/road/6b20d038ac7d/

Source: `cvat_sdk/auto_annotation/interface.py` of the CVAT SDK.
"""

from cvat_sdk import auto_annotation
from cvat_sdk.models import LabeledShapeRequest
from PIL import Image

from segmentor.cvat.shapes import (
    LEAST_PIXELS,
    MOST_SHAPES,
    bitmap_of,
    components_of,
    labelled_classes,
    polygons_of,
)
from segmentor.model import Model, open_model


class SegmentorFunction:
    """A model as CVAT's auto-annotation calls it."""

    def __init__(self, model: Model, least_pixels: int, most_shapes: int) -> None:
        self._model = model
        self._least_pixels = least_pixels
        self._most_shapes = most_shapes
        self._classes = labelled_classes(model.label_map)
        self.spec = auto_annotation.DetectionFunctionSpec(
            labels=[
                auto_annotation.label_spec(model.label_map.names[index], index, type="mask")
                for index in self._classes
            ]
        )

    def detect(
        self, context: auto_annotation.DetectionFunctionContext, image: Image.Image
    ) -> list[LabeledShapeRequest]:
        """Return a shape for each connected component that is sure enough."""
        prediction = self._model.predict(image)
        components = components_of(
            prediction.mask,
            prediction.confidence,
            self._classes,
            self._least_pixels,
            self._most_shapes,
        )
        threshold = context.conf_threshold or 0.0
        shapes = []
        for component in components:
            if component.score < threshold:
                continue
            if not context.conv_mask_to_poly:
                shapes.append(
                    auto_annotation.mask(
                        component.class_index, list(component.points), score=component.score
                    )
                )
                continue
            shapes += [
                auto_annotation.polygon(component.class_index, points, score=component.score)
                for points in polygons_of(bitmap_of(component, prediction.mask.shape))
            ]
        return shapes


def create(
    model: str, least_pixels: int = LEAST_PIXELS, most_shapes: int = MOST_SHAPES
) -> SegmentorFunction:
    """Open the function; `cvat-cli` calls this with the values of its -p flags.

    Args:
        model: See `segmentor.open_model`.
        least_pixels: Smaller components are left out.
        most_shapes: The largest components of an image are taken, up to this many.
    """
    return SegmentorFunction(open_model(model), least_pixels, most_shapes)
