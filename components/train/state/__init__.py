"""The state of a run: written after each epoch, mirrored, and found again."""
