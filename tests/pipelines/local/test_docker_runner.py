"""Steps in real containers; .ci/run starts Docker Engine and builds the images first."""

import io
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from tiny_pipeline import IMAGE, compile_tiny

from pipelines.local.docker_runner import DockerRunner
from pipelines.local.run import RunFailedError, run_local
from pipelines.local.step_runner import StepCommand
from segmentor.errors import SegmentorError
from segmentor.run_record import RunRecord
from tests.waiting import says, wait_for

QUICK_FAILURES = 200


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return compile_tiny(tmp_path_factory.mktemp("tiny"))


def command(tmp_path, *words, image=IMAGE, name="step"):
    return StepCommand(name, image, words, {}, tmp_path, tmp_path / "logs" / f"{name}.log")


def test_an_engine_that_is_away_is_told_with_what_to_do(tiny, tmp_path):
    # In a process of its own: docker-py forgets to close the socket that could not connect.
    script = (
        "import sys; from pathlib import Path; from pipelines.local.run import run_local; "
        "run, tiny = map(Path, sys.argv[1:]); run_local('docker', {}, run, pipeline=tiny)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "run", tiny],
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert "produce: Docker Engine: no answer" in last
    assert "start it, or use --runner host" in last


@pytest.mark.docker
def test_an_image_that_is_not_there_is_told_with_what_to_do(tmp_path):
    with pytest.raises(SegmentorError, match="segmentor-none:0: not on this machine; run make im"):
        DockerRunner({}).run(command(tmp_path, "true", image="segmentor-none:0"))


@pytest.mark.docker
@pytest.mark.timeout(900)
def test_200_quick_failures_are_200_failures_with_their_exit_code(tmp_path):
    runner = DockerRunner({})
    steps = [
        command(tmp_path, "sh", "-c", "echo failing; exit 3", name=f"step-{index}")
        for index in range(QUICK_FAILURES)
    ]
    # Two at once, as loops run: kfp's own runner lost most exit codes so.
    with ThreadPoolExecutor(2) as pool:
        codes = Counter(pool.map(runner.run, steps))
    assert codes == {3: QUICK_FAILURES}
    assert {step.log.read_text() for step in steps} == {"failing\n"}


@pytest.mark.docker
def test_the_tiny_pipeline_gives_the_same_artifacts_as_on_the_host(tiny, tmp_path):
    records = [
        run_local(runner, {}, tmp_path / runner, pipeline=tiny, stream=io.StringIO())
        for runner in ("host", "docker")
    ]
    digests = [{item.output: item.digest for item in record.artifacts} for record in records]
    assert digests[0] == digests[1]
    for path in (tmp_path / "docker").rglob("*"):
        assert path.stat().st_uid == os.getuid(), path


@pytest.mark.docker
def test_a_failing_step_fails_the_run_in_its_own_words(tiny, tmp_path):
    ending = "print('error: a.png: found X, expected Y; do Z'); sys.exit(3)"
    values = {"ending": ending}
    with pytest.raises(RunFailedError, match=r"consume: a\.png: found X, expected Y; do Z"):
        run_local("docker", values, tmp_path / "run", pipeline=tiny, stream=io.StringIO())


@pytest.mark.docker
def test_steps_see_the_given_inputs_and_of_the_environment_only_what_they_may(tiny, tmp_path):
    source = tmp_path / "export.zip"
    source.write_text("content")
    ending = (
        f"assert Path({str(source)!r}).read_text() == 'content'; "
        "assert os.environ['S3_ENDPOINT'] == 'http://s3'; assert 'OTHER' not in os.environ"
    )
    record = run_local(
        "docker",
        {"source": str(source), "ending": ending},
        tmp_path / "run",
        pipeline=tiny,
        environment={"S3_ENDPOINT": "http://s3", "OTHER": "x"},
        stream=io.StringIO(),
    )
    assert record.state == "done"


@pytest.mark.docker
def test_an_interrupted_run_leaves_no_container(tiny, tmp_path):
    import docker

    label = f"sleep-{os.getpid()}"
    ending = f"import time; print({label!r}, flush=True); time.sleep(120)"
    script = (
        "import sys; from pathlib import Path; from pipelines.local.run import run_local; "
        "run, tiny = map(Path, sys.argv[2:]); "
        "run_local('docker', {'ending': sys.argv[1]}, run, pipeline=tiny)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, ending, tmp_path / "run", tiny], stderr=subprocess.DEVNULL
    )
    log = tmp_path / "run" / "logs" / "consume.log"
    wait_for(lambda: says(log, label))
    process.send_signal(signal.SIGINT)
    assert process.wait(200) != 0
    assert RunRecord.read(tmp_path / "run").state == "interrupted"
    client = docker.from_env()
    commands = [str(item.attrs["Config"]["Cmd"]) for item in client.containers.list(all=True)]
    client.close()
    assert not [item for item in commands if label in item]
