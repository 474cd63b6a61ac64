"""Painting masks: shapes, colour masks and index masks become masks of our label map."""
