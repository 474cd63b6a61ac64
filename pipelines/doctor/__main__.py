"""Runs one check in this process: `python -m pipelines.doctor S3`; prints its findings as JSON."""

import dataclasses
import json
import logging
import sys

from pipelines.doctor.checks import CHECKS
from pipelines.doctor.finding import Finding, State
from segmentor.errors import SegmentorError


def main() -> None:
    """Run the check that the command names."""
    (subject,) = sys.argv[1:]
    logging.disable()
    try:
        findings = CHECKS[subject]()
    except SegmentorError as error:
        findings = [Finding(subject, State.FAILS, f"{error.where}: {error.found}", error.remedy)]
    json.dump([dataclasses.asdict(finding) for finding in findings], sys.stdout)


if __name__ == "__main__":
    main()
