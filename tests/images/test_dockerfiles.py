"""What the Dockerfiles say, without an engine."""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images.image_steps import modules_by_image, steps_by_image

IMAGES = ("data", "trainer", "predictor")


@pytest.fixture(params=IMAGES)
def dockerfile(request, repository) -> tuple[str, str]:
    path = repository / "images" / f"{request.param}.Dockerfile"
    return request.param, path.read_text(encoding="utf-8")


# As .dockerignore has it.
IGNORED = ("component.py",)
_IGNORED = shutil.ignore_patterns(*IGNORED, "__pycache__")


def test_hadolint_finds_nothing(repository):
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    files = [repository / "images" / f"{name}.Dockerfile" for name in IMAGES]
    result = subprocess.run([hadolint, *files], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_each_step_is_copied_into_its_own_image_alone(repository):
    for image, steps in steps_by_image().items():
        name = image.partition(":")[0].removeprefix("segmentor-")
        text = (repository / "images" / f"{name}.Dockerfile").read_text(encoding="utf-8")
        assert set(re.findall(r"^COPY components/(\w+) components/\1$", text, re.M)) == steps


@pytest.mark.parametrize("image", sorted(modules_by_image()))
def test_a_step_starts_with_what_its_image_copies(repository, tmp_path, image):
    name = image.partition(":")[0].removeprefix("segmentor-")
    text = (repository / "images" / f"{name}.Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY ((?:segmentor|components)\S*(?: \S+)*) (\S+)$", text, re.M)
    for sources, target in copied:
        for source in (path for pattern in sources.split() for path in repository.glob(pattern)):
            folder = tmp_path / target
            if source.is_dir():
                shutil.copytree(source, folder, ignore=_IGNORED, dirs_exist_ok=True)
            elif source.name not in IGNORED:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, folder)
    for module in modules_by_image()[image]:
        # Without the finder of the editable installation, which knows the whole repository.
        code = (
            "import runpy, sys\n"
            "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]\n"
            f"sys.argv = ['step', '--help']\n"
            f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "--executor-input" in done.stdout


def test_only_the_trainer_gets_what_needs_torch(dockerfile):
    name, text = dockerfile
    assert ("COPY segmentor/nn segmentor/nn" in text) == (name == "trainer")
    assert "COPY segmentor segmentor" not in text
    assert ("requirements.py trainer" in text) == (name == "trainer")


def test_the_last_stage_is_fit_for_a_cluster(dockerfile):
    name, text = dockerfile
    last = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*:0$", last, re.M)
    assert "HOME=/tmp" in last
    assert ("ENTRYPOINT" in last.replace("No ENTRYPOINT", "")) == (name == "predictor")
    assert "HEALTHCHECK" not in text
    assert "pip install" not in last
    for label in ("version", "revision", "licenses", "title"):
        assert f"org.opencontainers.image.{label}=" in last


def test_a_change_of_source_does_not_install_again(dockerfile):
    _name, text = dockerfile
    install = text.index("--requirement requirements.txt")
    assert "COPY segmentor" not in text[:install]
    assert "COPY pyproject.toml" not in text[text.index("AS dependencies") : install]


def test_the_context_is_an_allow_list(repository):
    lines = (repository / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    text = "".join(
        (repository / "images" / f"{name}.Dockerfile").read_text(encoding="utf-8")
        for name in IMAGES
    )
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M):
        for path in source.split():
            assert any(path == a or path.startswith(f"{a}/") for a in allowed), path
    for secret in (".git/config", ".venv/bin/python", "outputs/run.json", ".env", "tests/x.py"):
        assert not any(fnmatch.fnmatch(secret, f"{a}*") for a in allowed)


def test_requirements_are_the_packages_and_one_extras(repository):
    result = subprocess.run(
        [sys.executable, repository / "images/requirements.py", "predictor"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = result.stdout.splitlines()
    assert "onnxruntime" in lines  # the line that a GPU build replaces
    assert any(line.startswith("kserve==") for line in lines)
    assert not any(line.startswith("torch") for line in lines)


def _requirements(repository: Path, folder: Path, **arguments: str) -> list[str]:
    """Write the predictor's requirements by its Dockerfile's own command; return them."""
    dockerfile = (repository / "images/predictor.Dockerfile").read_text(encoding="utf-8")
    (command,) = re.findall(
        r"RUN (python requirements.py (?:.|\n)+?requirements.txt)\n\n", dockerfile
    )
    for name in ("pyproject.toml", "images/requirements.py"):
        shutil.copy(repository / name, folder)
    defaults = dict(re.findall(r"^ARG (ONNXRUNTIME|EXTRAS)=(\S+)$", dockerfile, re.M))
    environment = {**os.environ, **defaults, **arguments}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    subprocess.run(["sh", "-ec", command], cwd=folder, env=environment, check=True)
    return (folder / "requirements.txt").read_text().splitlines()


def test_the_gpu_build_argument_replaces_one_requirement(repository, tmp_path):
    """By the Dockerfile's own command, with the value that the guide and the overlay give."""
    guide = (repository / "docs/cluster/images.md").read_text(encoding="utf-8")
    overlay = (repository / "manifests/overlays/gpu/kustomization.yaml").read_text(encoding="utf-8")
    (value,) = set(re.findall(r"--build-arg 'ONNXRUNTIME=([^']+)'", guide + overlay))
    dockerfile = (repository / "images/predictor.Dockerfile").read_text(encoding="utf-8")
    assert value in dockerfile
    plain = _requirements(repository, tmp_path)
    with_gpu = _requirements(repository, tmp_path, ONNXRUNTIME=value)
    changed = [pair for pair in zip(plain, with_gpu, strict=True) if pair[0] != pair[1]]
    assert changed == [("onnxruntime", value)]


def test_the_extras_build_argument_adds_openvino(repository, tmp_path):
    """By the Dockerfile's own command, with the value that the guide and the overlay give."""
    texts = [
        (repository / path).read_text(encoding="utf-8")
        for path in ("docs/cluster/faster-engine.md", "manifests/overlays/fast/kustomization.yaml")
    ]
    values = [re.findall(r"--build-arg EXTRAS=(\S+)", text) for text in texts]
    assert values == [["predictor,openvino"]] * 2
    dockerfile = (repository / "images/predictor.Dockerfile").read_text(encoding="utf-8")
    (default,) = re.findall(r"^ARG EXTRAS=(\S+)$", dockerfile, re.M)
    plain = _requirements(repository, tmp_path, EXTRAS=default)
    assert "openvino" not in plain
    assert _requirements(repository, tmp_path, EXTRAS=values[0][0]) == [*plain, "openvino"]


def test_the_torch_build_argument_asks_another_index_first_and_for_torch_alone(repository):
    text = (repository / "images/trainer.Dockerfile").read_text(encoding="utf-8")
    assert re.search(r'^ARG TORCH_INDEX_URL=""$', text, re.M)  # PyPI's own build, with CUDA
    (branch,) = re.findall(r'if \[ -n "\$\{TORCH_INDEX_URL\}" \]; then (.+?)fi', text, re.S)
    assert '--index-url "${TORCH_INDEX_URL}"' in branch
    assert re.search(r"torch torchvision;", branch)
    assert text.index(branch) < text.index("--requirement requirements.txt")
    guide = (repository / "docs/cluster/images.md").read_text(encoding="utf-8")
    assert 'images/build.sh trainer -- --build-arg "TORCH_INDEX_URL=$TORCH_INDEX_URL"' in guide


def test_an_image_of_changed_sources_says_so(repository, tmp_path):
    """images/build.sh in a small repository, with `echo` for docker."""

    def git(*arguments):
        person = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        command = ["git", "-C", tmp_path, *person, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def built():
        command = ["bash", tmp_path / "images/build.sh", "data"]
        environment = {**os.environ, "DOCKER": "echo", "REGISTRY": ""}
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        )
        return re.search(r"REVISION=(\S+)", result.stdout)[1]

    for name in ("pyproject.toml", "images/build.sh", "images/data.Dockerfile"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(repository / name, tmp_path / name)
    assert built() == "unknown"
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "all")
    revision = git("rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("in no image")
    assert built() == revision
    (tmp_path / "segmentor").mkdir()
    (tmp_path / "segmentor/new.py").write_text("")
    assert built() == f"{revision}-dirty"
