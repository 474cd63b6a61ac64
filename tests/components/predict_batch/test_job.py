"""Pods of an Indexed Job: killed, evicted, refused; at the end one line and one mask an image."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
import yaml

from components.predict_batch.__main__ import main
from components.predict_batch.job import Patience, predict_in_pods
from components.predict_batch.options import PredictBatchOptions
from components.predict_batch.plan import Order, make_plan, read_plan
from components.predict_batch.prediction import open_for_batch, predict_parts
from components.predict_batch.step import predict_batch
from segmentor.errors import DeployError
from segmentor.model import LocalModel
from segmentor.object_store import ObjectStore
from tests.components.deploy.conftest import write_kubeconfig
from tests.components.predict_batch.bulk_builders import check_law
from tests.emulators.fake_jobs import job_server

TOKEN = "a-token"
SECRET = "segmentor-object-store"
QUICK = Patience(start=60.0, poll=0.2)


@pytest.fixture
def rules(repository) -> list[dict]:
    text = (repository / "manifests/batch/rbac.yaml").read_text()
    return next(yaml.safe_load_all(text))["rules"]


@pytest.fixture
def cluster(store, store_environment, rules, tmp_path, monkeypatch):
    with job_server(TOKEN, rules, {SECRET: store_environment}) as server:
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path, server.url, TOKEN)))
        yield server


@pytest.fixture
def published(store, model, source) -> str:
    uri = source.parent().child("model")
    store.ensure_bucket(uri.bucket)
    store.upload_folder(model, uri)
    return str(uri)


@pytest.fixture
def options(published, source, output) -> PredictBatchOptions:
    return PredictBatchOptions(
        published_model=published,
        batch_images=str(source),
        predictions=str(output),
        predict_workers=3,
    )


def predict(options: PredictBatchOptions, patience: Patience = QUICK, part_images: int = 5):
    return predict_batch(
        options.batch_images,
        options.published_model,
        options.predictions,
        options.mask_files,
        predict_in_pods(options, patience),
        part_images,
    )


@contextlib.contextmanager
def disturbing(cluster, chance: random.Random, times: int, disturb):
    """Disturbs a running pod now and then."""
    count = 0
    ended = threading.Event()

    def work() -> None:
        nonlocal count
        while count < times and not ended.wait(chance.uniform(0.1, 1.2)):
            if pods := cluster.running():
                disturb(chance.choice(pods))
                count += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_pods_share_the_images_and_use_every_right_that_the_role_has(
    cluster, store, images, output, model, options, rules
) -> None:
    _, totals = predict(options)
    check_law(store, output, images, LocalModel(model))
    assert (totals.images, totals.bad_images) == (40, 4)
    assert cluster.jobs == {}
    (job,) = cluster.created
    assert job["spec"]["completions"] == 3
    granted = {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert cluster.used == granted


@pytest.mark.parametrize("kind", ["kill -9", "evict"])
def test_pods_that_end_at_any_moment_go_on_where_they_were(
    cluster, store, images, output, model, options, chance, kind
) -> None:
    def disturb(pod) -> None:
        if kind == "evict":
            cluster.evict(pod)
        else:
            pod.process.kill()

    with disturbing(cluster, chance, 8, disturb):
        predict(options)
    check_law(store, output, images, LocalModel(model))


def test_the_step_itself_is_killed_and_its_successor_goes_on(
    cluster, store, images, output, model, options, chance, repository, tmp_path
) -> None:
    outputs = [tmp_path / "summary.json", tmp_path / "metrics.json"]
    command = [sys.executable, "-m", "components.predict_batch", "--predict-workers", "2"]
    for name in ("published_model", "batch_images", "predictions"):
        command += [f"--{name.replace('_', '-')}", getattr(options, name)]
    command += ["--prediction-summary", str(outputs[0]), "--prediction-metrics", str(outputs[1])]
    for number, ending in enumerate((signal.SIGKILL, signal.SIGTERM), start=1):
        process = subprocess.Popen(command, cwd=repository, env=os.environ)
        deadline = time.monotonic() + 120
        while len(cluster.created) < number or not cluster.running():
            if process.poll() is not None or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        time.sleep(chance.uniform(0.0, 1.0))
        process.send_signal(ending)
        process.wait(60)
        # A step that is ended takes its Job along; that of one that is killed goes on.
        if ending == signal.SIGTERM and process.returncode == 143:
            assert cluster.jobs == {}
    assert subprocess.run(command, cwd=repository, check=False).returncode == 0
    check_law(store, output, images, LocalModel(model))
    assert all(path.is_file() for path in outputs)


def test_two_pods_of_one_index_at_once_change_nothing(store, images, source, output, model) -> None:
    opened = open_for_batch(str(model))
    store.ensure_bucket(output.bucket)
    plan = make_plan(store, output, Order(str(source), str(model), opened.digest, "tar", 5))
    twins = [
        threading.Thread(
            target=predict_parts,
            args=(ObjectStore.from_environment(), output, plan, opened, range(plan.parts)),
        )
        for _ in range(2)
    ]
    for twin in twins:
        twin.start()
    for twin in twins:
        twin.join()
    assert read_plan(store, output) == plan
    predict_batch(str(source), str(model), str(output), "tar")
    check_law(store, output, images, LocalModel(model))


def test_a_known_error_of_a_pod_ends_the_job_at_once_and_is_said(
    cluster, images, output, options, store
) -> None:
    cluster.secrets = {SECRET: {**cluster.secrets[SECRET], "AWS_SECRET_ACCESS_KEY": "expired"}}
    with pytest.raises(DeployError, match=r"pod predict-\S+ ended with exit code 3: .*check AWS_"):
        predict(options)
    assert cluster.jobs == {}
    assert not store.exists(output.child("predictions.jsonl"))


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("pods_wait", "ImagePullBackOff", "the image segmentor-data:0.1.0 cannot be pulled"),
        ("denial", "are forbidden: exceeded quota", "Error creating: pods are forbidden: exceeded"),
    ],
)
def test_pods_that_never_run_are_not_waited_for(
    cluster, images, options, attribute, value, message
) -> None:
    setattr(cluster, attribute, value)
    with pytest.raises(DeployError, match=f"no pod has run for 1 s .*{message}"):
        predict(options, Patience(start=1.0, poll=0.2))
    assert cluster.jobs == {}


@pytest.mark.parametrize("missing", ["jobs create", "jobs delete", "pods list", "events list"])
def test_a_missing_right_is_found_before_the_images_are_listed(
    cluster, images, output, options, store, missing
) -> None:
    resource, verb = missing.split()
    cluster.rules = [
        {"apiGroups": rule["apiGroups"], "resources": [kind], "verbs": [word]}
        for rule in cluster.rules
        for kind in rule["resources"]
        for word in rule["verbs"]
        if (kind, word) != (resource, verb)
    ]
    with pytest.raises(DeployError, match=rf'cannot {verb} resource "{resource}".*manifests/batch'):
        predict(options)
    assert cluster.created == []
    assert not store.client.bucket_exists(output.bucket)


def test_without_a_cluster_the_remedy_is_one_pod(
    options, images, monkeypatch, tmp_path, capfd
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in vars(options).items()]
    flags += [f"--prediction-summary={tmp_path / 'a'}", f"--prediction-metrics={tmp_path / 'b'}"]
    assert main(flags) == 3
    assert "set KUBECONFIG, or set predict_workers=1" in capfd.readouterr().err
