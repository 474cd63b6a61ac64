"""The choose step: the best of several checkpoints is carried on."""
