"""docs/cluster.md and docs/cluster/: what the commands name is what the manifests have."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from page_commands import fenced_blocks, fenced_lines, simple_commands

from pipelines.compilation import SEGMENTATION_YAML
from pipelines.parameters import checked_parameters
from pipelines.task_settings import OBJECT_STORE_KEYS
from tests.manifests.schemas import problems, tighten

GUIDE = Path(__file__).resolve().parents[2] / "docs/cluster.md"
PAGES = [GUIDE, *sorted(GUIDE.with_suffix("").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
BLOCKS = fenced_blocks(TEXT)
# What the reader's shell has; the page on images names a registry.
VARIABLES = {**dict(re.findall(r"^export (\w+)=(\S+)$", TEXT, re.M)), "namespace": "segmentor"}


def _commands(pages: list[Path]) -> list[list[str]]:
    """Return the words of every simple command, with its variables put in."""
    lines = [line for page in pages for line in fenced_lines(page)]
    return [words for line in lines for words in simple_commands(line, VARIABLES)]


COMMANDS = _commands(PAGES)


def test_every_overlay_that_is_applied_renders(rendered):
    applied = {
        words[words.index("-k") + 1]
        for words in COMMANDS
        if words[0] == "kubectl" and "-k" in words
    }
    # Other folders are of the checkouts that docs/cluster/kind.md names.
    overlays = {path for path in applied if path.startswith("manifests/")}
    names = {"overlays/local", "overlays/production", "overlays/fast", "training"}
    assert overlays == {f"manifests/{name}" for name in names}
    for overlay in overlays:
        assert rendered(os.path.relpath(overlay, "manifests/overlays"))


def _created(kubectl, folder: Path, name: str) -> dict:
    """The secret of this name as the page's command makes it of the files in a folder."""
    (create,) = [words for words in COMMANDS if words[1:5] == ["create", "secret", "generic", name]]
    result = subprocess.run(
        [kubectl, *create[1:], "--dry-run=client", "--output=yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "KUBECONFIG": str(folder / "none")},
    )
    secret = yaml.safe_load(result.stdout)
    secret["metadata"].pop("creationTimestamp", None)
    assert problems(secret) == []
    return secret


def test_the_secret_renders_as_kserve_reads_it(kubectl, tmp_path):
    (tmp_path / "object-store.env").write_text(
        "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\nAWS_REGION=c\nS3_ENDPOINT=https://s3.example\n"
    )
    secret = _created(kubectl, tmp_path, "segmentor-object-store")
    assert set(secret["data"]) <= set(OBJECT_STORE_KEYS)
    assert all(f"`{name}=" in TEXT for name in secret["data"])
    (annotate,) = [words for words in COMMANDS if words[1:2] == ["annotate"]]
    annotations = [word for word in annotate if word.startswith("serving.kserve.io/")]
    assert annotations[0] == "serving.kserve.io/s3-endpoint=s3.example:443"


def test_the_credentials_are_the_try_out_store_s(rendered):
    (line,) = [line for line in "\n".join(BLOCKS).splitlines() if "AWS_SECRET_ACCESS_KEY=" in line]
    given = dict(word.split("=") for word in line.removeprefix("export ").split())
    secret = rendered("local")["Secret", "segmentor-object-store"]["stringData"]
    assert given.pop("AWS_REGION") == "us-east-1"
    assert given == {name: secret[name] for name in given}


def test_a_registrys_login_reaches_the_pods_by_their_service_accounts(kubectl, tmp_path, rendered):
    (tmp_path / "registry.json").write_text('{"auths": {}}')
    secret = _created(kubectl, tmp_path, "segmentor-registry")
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    patches = [words for words in COMMANDS if words[1:3] == ["patch", "serviceaccount"]]
    assert [words[3] for words in patches] == ["segmentor-predictor", "pipeline-runner"]
    account = rendered("production")["ServiceAccount", "segmentor-predictor"]
    for words in patches:
        change = json.loads(words[words.index("--patch") + 1])
        assert problems({**account, **change}) == []
        assert change == {"imagePullSecrets": [{"name": secret["metadata"]["name"]}]}


def test_the_patch_makes_the_storage_initializer_restricted(shared_data):
    (patch,) = [words for words in COMMANDS if words[1:3] == ["patch", "clusterstoragecontainer"]]
    change = json.loads(patch[patch.index("--patch") + 1])
    crd = shared_data.parent / "kserve-crds/serving.kserve.io_clusterstoragecontainers.yaml"
    schema = yaml.safe_load(crd.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    container = tighten(schema["properties"]["spec"]["properties"]["container"])
    container.pop("required")
    assert not list(Draft202012Validator(container).iter_errors(change["spec"]["container"]))
    context = change["spec"]["container"]["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("registry", ["", "registry.example/vision"])
def test_what_is_submitted_is_accepted_with_and_without_a_registry(registry):
    (block,) = [block for block in BLOCKS if "segmentor submit" in block]
    stubs = "kubectl() { :; }\naws() { :; }\nsegmentor() { printf '%s\\n' \"$@\"; }"
    script = f"{stubs}\n{block}"
    result = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, **VARIABLES, "REGISTRY": registry},
        capture_output=True,
        text=True,
        check=True,
    )
    words = result.stdout.splitlines()
    assert words[words.index("--registry") + 1] == registry
    given = dict(words[i + 1].split("=", 1) for i, word in enumerate(words) if word == "--param")
    checked_parameters(SEGMENTATION_YAML, {"source": "s3://datasets/task.zip", **given})


def test_the_printed_link_is_where_the_ui_is_forwarded_to():
    forwards = {
        words[words.index("--namespace") + 2]: words[words.index("--namespace") + 3]
        for words in COMMANDS
        if words[1:2] == ["port-forward"]
    }
    # One after the other in one shell: no port is taken twice.
    assert len({ports.split(":")[0] for ports in forwards.values()}) == len(forwards)
    port = forwards["service/ml-pipeline-ui"].split(":")[0]
    assert VARIABLES["KFP_ENDPOINT"] == f"http://localhost:{port}"


def test_every_pipeline_parameter_exists():
    (submit,) = [words for words in COMMANDS if words[1:2] == ["submit"]]
    given = [submit[i + 1].split("=")[0] for i, word in enumerate(submit) if word == "--param"]
    given += re.findall(r"--param (\w+)=", TEXT)
    pipeline = next(yaml.safe_load_all(SEGMENTATION_YAML.read_text(encoding="utf-8")))
    known = pipeline["root"]["inputDefinitions"]["parameters"]
    assert set(given) <= set(known)
    assert {"model_name", "apply", "train_accelerators"} <= set(given)


def test_images_and_the_version_are_the_projects_own():
    from components.container_images import VERSION

    assert VARIABLES["VERSION"] == VERSION
    for words in COMMANDS:
        if words[:2] == ["kind", "load"]:
            assert re.fullmatch(rf"segmentor-(data|trainer|predictor):{VERSION}", words[3])
        if words[0] == "docker":
            assert re.fullmatch(rf".*/segmentor-(data|trainer|predictor):{VERSION}", words[2])


def test_every_file_the_page_names_is_there(repository):
    for path in re.findall(r"`((?:manifests|tests|images|docs)/[\w./-]+)`", TEXT):
        assert (repository / path).exists(), path
    for page in PAGES:
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), (page.name, link)


def test_the_guide_is_thirty_commands_and_names_every_page():
    text = GUIDE.read_text(encoding="utf-8")
    assert 10 < len(_commands([GUIDE])) <= 30
    assert {f"cluster/{page.name}" for page in PAGES[1:]} <= set(re.findall(r"\]\(([^)#]+)", text))
