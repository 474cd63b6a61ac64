"""docs/parameters.md says of every pipeline parameter what the compiled pipelines say."""

import json

from pipelines.compilation import SEGMENTATION_YAML, SWEEP_YAML
from pipelines.parameters import load_pipeline


def _rows(path) -> dict[str, str]:
    """The line of each parameter as the page has it."""
    inputs = load_pipeline(path)["root"]["inputDefinitions"]["parameters"]
    rows = {}
    for name, declared in inputs.items():
        value = declared.get("defaultValue")
        if declared["parameterType"] == "NUMBER_INTEGER":
            value = int(value)
        default = f"`{json.dumps(value)}`" if "defaultValue" in declared else "needed"
        rows[name] = f"| `{name}` | {default} | {' '.join(declared['description'].split())} |"
    return rows


def test_the_page_lists_every_parameter_with_its_default_and_its_description(repository):
    page = (repository / "docs" / "parameters.md").read_text(encoding="utf-8").splitlines()
    listed = [line for line in page if line.startswith("| `")]
    assert sorted(set(listed)) == sorted(
        {*_rows(SEGMENTATION_YAML).values(), *_rows(SWEEP_YAML).values()}
    )
    assert len(listed) == len(set(listed))
