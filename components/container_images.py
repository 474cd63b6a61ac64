"""The container images of the steps: the defaults of the pipeline's image parameters."""

VERSION = "0.1.0"  # this package's version; a test compares it with pyproject.toml

DATA = f"segmentor-data:{VERSION}"
TRAINER = f"segmentor-trainer:{VERSION}"
PREDICTOR = f"segmentor-predictor:{VERSION}"
