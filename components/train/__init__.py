"""Train: a data set in, a checkpoint with its contract out; Catalyst, configured through Hydra."""
