"""KFP's ExecutorOutput: the file from which the backend takes output artifacts and their metadata.

It is always written, with every output artifact, because kfp.local finds them nowhere else.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from segmentor.errors import ConfigError

Scalar = str | int | float | bool
# Scalars, except for the confusion matrix of a ClassificationMetrics: KFP's page needs it nested.
# No step may read it, because nested values come back in another form.
Metadata = Mapping[str, Scalar | dict[str, object] | list[object]]


def write_executor_output(executor_input: str, metadata: Mapping[str, Metadata]) -> None:
    """Write the ExecutorOutput to the path that the ExecutorInput names.

    Args:
        executor_input: The JSON that KFP put in place of '{{$}}'.
        metadata: The metadata of each output artifact; those without any may be left out.

    Raises:
        ConfigError: the text is not an ExecutorInput, or `metadata` names an unknown output.
    """
    try:
        outputs = json.loads(executor_input)["outputs"]
        path = Path(outputs["outputFile"])
        artifacts = {
            name: value["artifacts"][0] for name, value in outputs.get("artifacts", {}).items()
        }
        listed = {
            name: {"name": artifact.get("name", name), "uri": artifact["uri"]}
            for name, artifact in artifacts.items()
        }
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigError("--executor-input", f"malformed JSON ({error!r})", "'{{$}}'") from error
    unknown = sorted(set(metadata) - set(listed))
    if unknown:
        raise ConfigError("--executor-input", f"no output {', '.join(unknown)}", "the step's own")
    content = {
        "artifacts": {
            name: {"artifacts": [{**artifact, "metadata": dict(metadata.get(name, {}))}]}
            for name, artifact in listed.items()
        }
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
