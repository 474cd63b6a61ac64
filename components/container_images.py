"""The container images of the steps: the defaults of the pipeline's image parameters."""

VERSION = "0.1.0"  # of this package; a test holds it to pyproject.toml

DATA = f"segmentor-data:{VERSION}"
TRAINER = f"segmentor-trainer:{VERSION}"
PREDICTOR = f"segmentor-predictor:{VERSION}"
