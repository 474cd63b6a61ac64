"""Runs that have finished: their record, page, summary and comparison."""
