"""Says which extra of pyproject.toml brings a module that is not installed."""

import traceback
from pathlib import Path

_ROOT = Path(__file__).parent.parent
# By the file whose import failed; the first that fits. There is one extra a container image.
_EXTRAS = (
    ("segmentor/nn/", "trainer"),
    ("components/train/", "trainer"),
    ("components/evaluate/", "trainer"),
    ("components/export/", "trainer"),
    ("components/", "data"),
    ("serving/engines/openvino.py", "openvino"),
    ("serving/", "predictor"),
    ("pipelines/predictor/page.py", "ui"),
    ("pipelines/", "pipelines"),
)


def explain(error: ModuleNotFoundError) -> str | None:
    """Return one line that names the module and its extra; None if the module is ours."""
    module = (error.name or "").partition(".")[0]
    if not module or (_ROOT / module).exists():
        return None
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(_ROOT) and "site-packages" not in path.parts:
            name = path.relative_to(_ROOT).as_posix()
            extra = next((extra for start, extra in _EXTRAS if name.startswith(start)), None)
            return extra and (
                f"module {module}: not installed, expected the extra '{extra}'; "
                f"pip install '.[{extra}]'"
            )
    return None
