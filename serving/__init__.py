"""The KServe custom predictor."""
