"""The configuration: composed by Hydra, checked without torch, and prepared with its data sets."""
