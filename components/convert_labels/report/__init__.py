"""The label report: counts, findings, facts and contact sheets."""
