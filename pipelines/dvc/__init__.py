"""DVC on the client: its revisions as the source of a run, and the steps as its stages."""
