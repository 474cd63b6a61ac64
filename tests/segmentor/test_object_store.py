import time
import uuid

import pytest
from free_ports import free_port

from segmentor.errors import StoreError
from segmentor.object_store import ObjectStore
from segmentor.object_uri import ObjectUri, is_object_uri
from segmentor.store_connection import StoreConnection
from tests.loopback_servers import Handler, serving


@pytest.fixture
def bucket(store):
    name = f"b-{uuid.uuid4().hex[:12]}"
    store.ensure_bucket(name)
    return ObjectUri(name, "")


def test_uri_parts():
    uri = ObjectUri.parse("minio://data/a/b c?d#e.zip")
    assert (uri.bucket, uri.key) == ("data", "a/b c?d#e.zip")
    assert str(uri) == "s3://data/a/b c?d#e.zip"
    assert str(ObjectUri("m", "a/").child("b")) == "s3://m/a/b"
    assert is_object_uri("s3://x/y")
    assert not is_object_uri("/local/s3.zip")


@pytest.mark.parametrize("text", ["http://host/key", "s3://", "plain", "s3:/bucket/key"])
def test_what_is_no_object_uri_is_refused(text):
    with pytest.raises(StoreError, match="no object store URI"):
        ObjectUri.parse(text)


def test_file_comes_back_as_it_went_up(store, bucket, tmp_path):
    content = bytes(range(256)) * 40_000  # 10 MB: two parts
    (tmp_path / "up").write_bytes(content)
    uri = bucket.child("folder/file with space.bin")
    store.upload_file(tmp_path / "up", uri)
    store.download(uri, tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == content
    assert store.read(uri) == content
    assert store.exists(uri)


def test_folder_comes_back_without_its_neighbours(store, bucket, tmp_path):
    for name in ("m/1/model.onnx", "m/1/sub/a.json", "m/10/model.onnx"):
        path = tmp_path / "up" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    store.upload_folder(tmp_path / "up", bucket)
    store.download(bucket.child("m/1"), tmp_path / "down")
    found = {p.relative_to(tmp_path / "down").as_posix() for p in (tmp_path / "down").rglob("*.*")}
    assert found == {"model.onnx", "sub/a.json"}


def test_names_as_long_as_a_disk_takes_come_back(store, bucket, tmp_path):
    name = "道" * 83 + ".jpg"  # 253 bytes
    (tmp_path / "up").write_bytes(b"content")
    store.upload_file(tmp_path / "up", bucket.child(f"export/images/{name}"))
    store.download(bucket.child("export"), tmp_path / "down")
    assert (tmp_path / "down" / "images" / name).read_bytes() == b"content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["down", "up"]


def test_what_the_disk_refuses_is_named(store, bucket, tmp_path):
    (tmp_path / "up").write_bytes(b"content")
    uri = bucket.child("file")
    store.upload_file(tmp_path / "up", uri)
    with pytest.raises(StoreError, match=rf"{uri}: cannot be written to .*File name too long"):
        store.download(uri, tmp_path / ("x" * 300))
    assert [path.name for path in tmp_path.iterdir()] == ["up"]


def test_missing_object_and_bucket_are_named(store, bucket, tmp_path):
    with pytest.raises(StoreError, match=r"s3://.*/nothing: no object"):
        store.download(bucket.child("nothing"), tmp_path / "x")
    assert not store.exists(bucket.child("nothing"))
    with pytest.raises(StoreError, match="NoSuchKey"):
        store.read(bucket.child("nothing"))
    with pytest.raises(StoreError, match="NoSuchBucket"):
        store.read(ObjectUri("no-such-bucket-here", "x"))


def test_wrong_secret_says_what_to_check(store_environment, bucket):
    stranger = ObjectStore.from_environment({**store_environment, "AWS_SECRET_ACCESS_KEY": "wrong"})
    with pytest.raises(StoreError, match=r"SignatureDoesNotMatch.*check AWS_ACCESS_KEY_ID"):
        stranger.read(bucket.child("x"))


def test_store_that_is_away_is_reported_within_seconds(monkeypatch):
    monkeypatch.setattr("segmentor.retrying.LAPTOP_SECONDS", 1)
    address = f"http://127.0.0.1:{free_port()}"
    start = time.monotonic()
    with pytest.raises(StoreError, match=r"no answer from http://127.0.0.1.*check S3_ENDPOINT"):
        ObjectStore(StoreConnection(address, region="r")).read(ObjectUri("bucket", "k"))
    assert time.monotonic() - start < 10


def test_unset_endpoint_says_which_variables():
    with pytest.raises(StoreError, match="set S3_ENDPOINT, AWS_ACCESS_KEY_ID"):
        ObjectStore.from_environment({})


def test_a_name_that_no_bucket_can_have_is_not_taken_for_a_dead_server(store):
    with pytest.raises(StoreError, match="s3://b/k: invalid bucket name b"):
        store.read(ObjectUri.parse("s3://b/k"))


def test_a_pod_s_own_credentials_are_fetched_where_no_keys_are_given(
    store, store_environment, monkeypatch
):
    """As EKS Pod Identity gives them: by an address, to whoever asks from inside the pod."""
    asked = []

    class Agent(Handler):
        def answer(self):
            asked.append(self.headers["Authorization"])
            self.reply(200, {
                "AccessKeyId": store_environment["AWS_ACCESS_KEY_ID"],
                "SecretAccessKey": store_environment["AWS_SECRET_ACCESS_KEY"],
                "Token": "",
                "Expiration": "2100-01-01T00:00:00Z",
            })  # fmt: skip

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of-the-pod")
    with serving(Agent) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/v1/credentials")
        own = ObjectStore.from_environment()
        own.ensure_bucket("of-a-pod")
        assert not own.exists(ObjectUri.parse("s3://of-a-pod/nothing"))
    assert asked == ["of-the-pod"]  # once, for as long as they are valid
    monkeypatch.delenv("S3_ENDPOINT")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert ObjectStore.from_environment().endpoint == "https://s3.eu-west-1.amazonaws.com"
