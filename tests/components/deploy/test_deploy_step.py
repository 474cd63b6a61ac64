import json
import re
import subprocess
import sys
import uuid

import pytest
import yaml
from builders import ROAD, scenes, write_dataset
from deploy_builders import CHECKPOINT, TEST_SET, write_inputs

from components.deploy.__main__ import build_parser, main
from segmentor.booleans import read_boolean
from segmentor.digests import digest_bytes, digest_file
from segmentor.errors import ContractError
from segmentor.image_io import decode_index
from segmentor.inference import predict_mask
from segmentor.model_samples import MOST_SAMPLES, read_samples, recorded_limit
from segmentor.object_uri import ObjectUri
from segmentor.onnx_model import INT8_FILE, MODEL_FILE, OnnxModel
from segmentor.training_mirror import FINISHED, finished_text, mirrors_of


@pytest.fixture
def bucket(store):
    return f"s3://models-{uuid.uuid4().hex[:12]}"


def _keys(store, uri):
    return [item.key for item in store.list_keys(ObjectUri.parse(uri))]


def test_a_good_model_is_published_with_its_record_and_manifest(store, bucket, tmp_path):
    flags = write_inputs(tmp_path)
    mirror = mirrors_of(f"{bucket}/serving").child("key")
    store.ensure_bucket(mirror.bucket)
    store.write(mirror.child(FINISHED), finished_text(CHECKPOINT))
    assert main([*flags, "--model-name", "road", "--destination", f"{bucket}/serving"]) == 0
    assert not list(store.list_keys(mirror))
    digest = digest_file(tmp_path / "model/model.onnx")
    version = digest[7:19]
    record = json.loads((tmp_path / "deployment/deployment.json").read_text())
    uri = f"{bucket}/serving/road/{version}/"
    assert (record["uri"], record["version"], record["model_digest"]) == (uri, version, digest)
    assert (record["published"], record["applied"]) == (True, False)
    assert record["dataset_digest"] == TEST_SET
    assert all(check["passed"] for check in record["gate"])

    names = ["evaluation.json", "model.json", "model.onnx", "per_image.csv"]
    assert _keys(store, uri) == [f"serving/road/{version}/{name}" for name in names]
    published = json.loads(store.read(ObjectUri.parse(uri + "model.json")))
    assert published["model_digest"] == digest
    assert published["provenance"] == {"checkpoint_digest": CHECKPOINT}
    for name, expected in published["files"].items():
        assert digest_bytes(store.read(ObjectUri.parse(uri + name))) == expected
    manifest = yaml.safe_load((tmp_path / "deployment/inference_service.yaml").read_text())
    assert manifest["spec"]["predictor"]["model"]["storageUri"] == uri


def test_equal_content_again_changes_nothing(store, bucket, tmp_path):
    flags = [*write_inputs(tmp_path), "--model-name", "road", "--destination", bucket]
    assert main(flags) == 0
    first = [
        (item.object_name, item.last_modified)
        for item in store.client.list_objects(bucket[5:], recursive=True)
    ]
    assert main(flags) == 0
    again = [
        (item.object_name, item.last_modified)
        for item in store.client.list_objects(bucket[5:], recursive=True)
    ]
    assert again == first
    assert not json.loads((tmp_path / "deployment/deployment.json").read_text())["published"]


def test_other_content_under_a_used_version_is_refused(store, bucket, tmp_path, capfd):
    target = ["--model-name", "road", "--destination", bucket, "--version", "v1"]
    assert main([*write_inputs(tmp_path / "a"), *target]) == 0
    before = {key: store.read(ObjectUri(bucket[5:], key)) for key in _keys(store, bucket)}
    assert main([*write_inputs(tmp_path / "b", gain=0.5), *target]) == 3
    assert "published versions never change: choose another --version" in capfd.readouterr().err
    after = {key: store.read(ObjectUri(bucket[5:], key)) for key in _keys(store, bucket)}
    assert after == before
    assert not (tmp_path / "b/deployment").exists()


def test_an_interrupted_publish_is_completed_by_the_next(store, bucket, tmp_path):
    flags = [
        *write_inputs(tmp_path),
        "--model-name",
        "road",
        "--destination",
        bucket,
        "--version",
        "v1",
    ]
    assert main(flags) == 0
    store.client.remove_object(bucket[5:], "road/v1/model.onnx")
    assert main(flags) == 0
    assert (
        store.read(ObjectUri.parse(f"{bucket}/road/v1/model.onnx"))
        == (tmp_path / "model/model.onnx").read_bytes()
    )


def test_a_claim_of_another_model_is_respected_before_its_model_arrives(
    store, bucket, tmp_path, capfd
):
    target = ["--model-name", "road", "--destination", bucket, "--version", "v1"]
    assert main([*write_inputs(tmp_path / "a"), *target]) == 0
    store.client.remove_object(bucket[5:], "road/v1/model.onnx")
    assert main([*write_inputs(tmp_path / "b", gain=0.5), *target]) == 3
    assert "found" not in capfd.readouterr().out


def test_a_version_does_not_see_its_longer_neighbour(store, bucket, tmp_path):
    target = ["--model-name", "road", "--destination", bucket, "--version"]
    assert main([*write_inputs(tmp_path / "a"), *target, "v10"]) == 0
    assert main([*write_inputs(tmp_path / "b", gain=0.5), *target, "v1"]) == 0


def test_a_refused_model_leaves_nothing(store, bucket, tmp_path, capfd):
    flags = write_inputs(tmp_path, evaluation={"dataset": {"iou": 0.42}})
    assert main([*flags, "--model-name", "road", "--destination", bucket, "--min-iou", "0.9"]) == 3
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: gate: 1 of 8 checks failed: iou 0.42 (required >= 0.9);")
    assert not store.client.bucket_exists(bucket[5:])
    assert not (tmp_path / "deployment").exists()


def test_executor_output_names_the_deployment(store, bucket, tmp_path):
    flags = write_inputs(tmp_path)
    executor_input = {
        "outputs": {
            "artifacts": {
                name: {"artifacts": [{"name": "1", "uri": f"minio://b/{name}"}]}
                for name in ("deployment", "deployment_report")
            },
            "outputFile": str(tmp_path / "out/executor_output.json"),
        }
    }
    flags += ["--executor-input", json.dumps(executor_input)]
    minio = bucket.replace("s3://", "minio://")
    assert main([*flags, "--model-name", "road", "--destination", minio, "--version", ""]) == 0
    output = json.loads((tmp_path / "out/executor_output.json").read_text())
    metadata = output["artifacts"]["deployment"]["artifacts"][0]["metadata"]
    assert metadata["storage_uri"].startswith(f"{bucket}/road/")
    assert metadata["applied"] is False


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model-name", "Road"], "--model-name: 'Road'"),
        (["--model-name", "road", "--namespace", "a_b"], "--namespace: 'a_b'"),
        (["--model-name", "r" * 50], "--model-name: .* at most 63"),
        (["--model-name", "r" * 49, "--namespace", "ml"], "--model-name: 'isvc.* at most 63"),
        (["--model-name", "road", "--version", "a/b"], "--version: 'a/b'"),
        (["--model-name", "road", "--destination", "/models"], "no object store URI"),
    ],
)
def test_wrong_names_are_refused_in_one_line(bucket, tmp_path, capfd, flags, message):
    inputs = write_inputs(tmp_path)
    assert main([*inputs, "--destination", bucket, *flags]) == 3
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(message, error)


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True", True), ("false", False), ("", False), ("1", True)]
)
def test_booleans_as_kfp_writes_them(text, value):
    assert read_boolean(text) is value


def test_what_is_no_boolean_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args(["--apply", "yes please"])
    assert stop.value.code == 2
    assert "neither true nor false" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["components.deploy", "components.deploy.check"])
def test_help_answers_before_anything_heavy_is_imported(module, repository):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", module, "--help"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--min-iou" in result.stdout
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert "argparse" in imported
    assert imported.isdisjoint({"numpy", "onnxruntime", "minio", "kubernetes"})


def test_test_images_and_the_int8_model_are_kept_with_the_version(store, bucket, tmp_path):
    flags = write_inputs(tmp_path)
    (tmp_path / "model" / INT8_FILE).write_bytes((tmp_path / "model" / MODEL_FILE).read_bytes())
    test = write_dataset(tmp_path / "test", scenes(20), ROAD)
    uri = f"{bucket}/road/v1"
    flags += ["--test", str(tmp_path / "test"), "--version", "v1"]
    assert main([*flags, "--model-name", "road", "--destination", bucket]) == 0
    store.download(ObjectUri.parse(uri), tmp_path / "published")
    assert (tmp_path / "published" / INT8_FILE).is_file()
    kept = read_samples(tmp_path / "published")
    assert len(kept) == MOST_SAMPLES
    originals = {test.image_content(sample) for sample in test.iter_samples()}
    assert len({sample.image for sample in kept}) == MOST_SAMPLES
    assert {sample.image for sample in kept} <= originals
    model = OnnxModel(tmp_path / "published")
    for sample in kept:
        mask = predict_mask(model.forward, model.contract, sample.image)
        assert (decode_index(sample.expected, sample.name) == mask).all()
    assert recorded_limit(tmp_path / "published") == 1e-5
    for file in ("samples/00.png", "samples/expected/07.png"):
        path = tmp_path / "published" / file
        content = path.read_bytes()
        path.write_bytes(b"another one")
        with pytest.raises(ContractError, match=f"{file}: digest"):
            read_samples(tmp_path / "published")
        path.write_bytes(content)
