"""Samples on their way to the network: cached, augmented and batched."""
