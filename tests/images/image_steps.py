"""Which steps run in which container image, as the compiled pipelines say."""

import re

from pipelines.compilation import LABELLING_YAML, PREDICT_BATCH_YAML, SWEEP_YAML
from pipelines.parameters import load_pipeline


def modules_by_image() -> dict[str, set[str]]:
    """The modules that each image runs ('components.deploy.check'), by the image's default name."""
    found: dict[str, set[str]] = {}
    # Together they have every step.
    for specification in map(load_pipeline, (SWEEP_YAML, LABELLING_YAML, PREDICT_BATCH_YAML)):
        defaults = specification["root"]["inputDefinitions"]["parameters"]
        for executor in specification["deploymentSpec"]["executors"].values():
            container = executor["container"]
            (parameter,) = re.findall(r"pipelinechannel--(\w+)", container["image"])
            image = defaults[parameter]["defaultValue"]
            found.setdefault(image, set()).add(container["command"][2])
    return found


def steps_by_image() -> dict[str, set[str]]:
    """The steps of each image ('deploy'), by the image's default name."""
    return {
        image: {module.split(".")[1] for module in modules}
        for image, modules in modules_by_image().items()
    }
