"""The gate: what a model must reach before it is published."""
