"""The evaluate step: what a checkpoint is worth on images it has never seen."""
