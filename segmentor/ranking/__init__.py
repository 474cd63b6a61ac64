"""What to label next, and which labels are probably wrong, by one pass of a model over images."""
