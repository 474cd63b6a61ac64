"""docs/parameters.md is what `segmentor compile` writes, and lists what the pipelines have."""

import re

from pipelines.compilation import LABELLING_YAML, PREDICT_BATCH_YAML, SEGMENTATION_YAML, SWEEP_YAML
from pipelines.parameter_page import PAGE, parameter_page
from pipelines.parameters import load_pipeline


def test_the_page_is_fresh():
    assert PAGE.read_text(encoding="utf-8") == parameter_page(), "run: segmentor compile"


def test_the_page_lists_every_parameter_of_all_pipelines_once():
    listed = re.findall(r"^\| `(\w+)` \|", parameter_page(), re.MULTILINE)
    inputs = {
        name
        for path in (SEGMENTATION_YAML, SWEEP_YAML, LABELLING_YAML, PREDICT_BATCH_YAML)
        for name in load_pipeline(path)["root"]["inputDefinitions"]["parameters"]
    }
    assert sorted(listed) == sorted(inputs)
