"""Runs on this machine: the orchestrator, its runners, the run folder and the object store."""
