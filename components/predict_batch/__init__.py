"""Predicts all images of a prefix or a list in the object store, on one machine or on many."""
