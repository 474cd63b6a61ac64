"""The deploy step: gate, immutable publish, InferenceService."""
