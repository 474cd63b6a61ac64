"""The propose step: a model says what to label next, and CVAT's annotators see it."""
