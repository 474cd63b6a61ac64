"""A module a format: each finds out by content whether an export is its own, and reads it."""
