import subprocess
import sys


def test_a_short_soak_of_good_and_hostile_requests_harms_no_innocent_one(predictor, repository):
    command = [sys.executable, str(repository / "benchmarks" / "soak.py")]
    command += ["--url", predictor.url, "--model", "scene", "--pid", str(predictor.process.pid)]
    done = subprocess.run(
        [*command, "--seconds", "8", "--growth", "200"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
