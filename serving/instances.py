"""V1 JSON bodies: `instances` of base64 images or of nested lists of pixels."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.json_body import parse_json, read_numbers, read_parameters
from serving.prediction import MAX_IMAGES, Picture
from serving.refusals import BadInput, TooLarge
from serving.threshold import THRESHOLD, read_threshold

_FORMS = '{"image": {"b64": "<base64>"}} or an H x W x 3 list of RGB values 0..255'


@dataclass(frozen=True)
class Instances:
    """A V1 request: its pictures, and the threshold among its `parameters`."""

    pictures: tuple[Picture, ...]
    threshold: float | None


def read_instances(body: bytes) -> Instances:
    """Reads a V1 JSON body.

    Raises:
        BadInput: not JSON, no instances, an instance of another form, or no number as threshold.
        TooLarge: too many instances, or too many numbers in lists.
    """
    payload = parse_json(body)
    instances = payload.get("instances") if isinstance(payload, dict) else None
    if not isinstance(instances, list) or not instances:
        raise BadInput(f"body: expected a JSON object with 'instances', a list of {_FORMS}")
    if len(instances) > MAX_IMAGES:
        raise TooLarge(f"{len(instances)} instances in one request, at most {MAX_IMAGES}")
    threshold = read_threshold(read_parameters(payload, "body").get(THRESHOLD))
    pictures = (_read_instance(instance, index) for index, instance in enumerate(instances))
    return Instances(tuple(pictures), threshold)


def _read_instance(instance: Any, index: int) -> Picture:
    where = f"instances[{index}]"
    if isinstance(instance, list):
        return _read_pixels(instance, where)
    if isinstance(instance, dict):
        image = instance.get("image", instance)
        if isinstance(image, list):
            return _read_pixels(image, where)
        if isinstance(image, dict) and isinstance(image.get("b64"), str):
            try:
                return base64.b64decode(image["b64"], validate=True)
            except (binascii.Error, ValueError) as error:
                raise BadInput(f"{where}: not base64 ({error})") from error
    raise BadInput(f"{where}: expected {_FORMS}")


def _read_pixels(rows: list[Any], where: str) -> Picture:
    array = read_numbers(rows, where)
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise BadInput(f"{where}: found shape {list(array.shape)}, expected H x W x 3 numbers")
    if not ((array >= 0) & (array <= 255) & (array % 1 == 0)).all():
        raise BadInput(f"{where}: values outside 0..255, or fractions")
    return array.astype(np.uint8)
