"""KServe: applying an InferenceService, waiting for it, and rolling it back."""
