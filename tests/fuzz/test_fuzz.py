"""The parsers of labels, fuzzed for some seconds each."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

TARGETS = ("xml", "whole_xml", "coco", "datumaro", "label_maps", "run_lengths")
SECONDS = 8


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel here")
@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_make_a_parser_fail_otherwise_than_with_our_error(
    target: str, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("parse_labels.py")
    options = [f"-max_total_time={SECONDS}", "-max_len=2000", "-timeout=10", "-rss_limit_mb=3000"]
    command = [sys.executable, str(script), target, *options, f"-artifact_prefix={tmp_path}/"]
    # Its temporary folders go with the test's own.
    done = subprocess.run(
        command, capture_output=True, text=True, env={"TMPDIR": str(tmp_path)}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
