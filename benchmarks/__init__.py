"""What anyone can measure again: `python -m benchmarks.NAME`, from the top of the repository."""
