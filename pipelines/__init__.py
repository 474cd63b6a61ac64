"""The pipeline: its graph, the runners that execute it, and the command line."""
