"""Runs on Kubeflow Pipelines: the client, the submission, and the wait for the end."""
