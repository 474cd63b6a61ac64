"""docs/cluster.md: each command has the right syntax and flags, and what it names is there."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from pipelines.cluster_settings import OBJECT_STORE_KEYS
from pipelines.cluster_values import check_cluster_values
from pipelines.compilation import SEGMENTATION_YAML
from tests.manifests.schemas import problems, tighten

GUIDE = Path(__file__).resolve().parents[2] / "docs/cluster.md"
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
# What the reader's shell has after section 1.
VARIABLES = dict(re.findall(r"^export (\w+)=(\S+)$", BLOCKS[0], re.M))
PROGRAMS = {"kubectl", "docker", "segmentor", "curl", "aws", "jq", "kind", "images/build.sh"}
KEYWORDS = {"for", "do", "done", "export"}


def _commands() -> list[list[str]]:
    """Every simple command of the page, with its variables put in."""
    found = []
    for block in BLOCKS[1:]:
        text = re.sub(r"\\\n\s*", " ", block)
        for line in re.split(r"[\n|;]|&$", text, flags=re.M):
            for name, value in {**VARIABLES, "namespace": "segmentor"}.items():
                line = line.replace(f"${name}", value)
            line = re.sub(r"\$\{\w+:\+([^}]*)\}", r"\1", line)
            words = shlex.split(line)
            while words and (words[0] in KEYWORDS or re.fullmatch(r"[A-Z_]+=.*", words[0])):
                words = [] if words[0] in ("for", "done") else words[1:]
            if words:
                found.append(words)
    return found


COMMANDS = _commands()


@pytest.mark.parametrize("block", BLOCKS)
def test_the_shell_takes_the_block(block):
    result = subprocess.run(
        ["bash", "-n"], input=block, text=True, capture_output=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_the_page_uses_known_programs_and_defined_variables():
    assert len(COMMANDS) > 20
    assert {words[0] for words in COMMANDS} == PROGRAMS
    assert not [word for words in COMMANDS for word in words if "$" in word and "'" not in word]


def _flags(words: list[str]) -> set[str]:
    return {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}


def test_kubectl_knows_every_flag(kubectl):
    helped: dict[str, str] = {}
    for words in COMMANDS:
        if words[0] != "kubectl":
            continue
        verb = words[1:4] if words[1:3] == ["create", "secret"] else words[1:2]
        if words[1:3] == ["create", "namespace"]:
            verb = words[1:3]
        key = " ".join(verb)
        if key not in helped:
            helped[key] = "".join(
                subprocess.run(
                    [kubectl, *arguments], capture_output=True, text=True, check=True
                ).stdout
                for arguments in ([*verb, "--help"], ["options"])
            )
        for flag in _flags(words[len(verb) + 1 :]):
            # Listed as `--selector=''` or `-k, --kustomize=''`.
            assert re.search(rf"^\s+(-\w, )?{flag}[=,]", helped[key], re.M), (key, flag)


def test_every_overlay_that_is_applied_renders(rendered):
    overlays = [
        words[words.index("-k") + 1]
        for words in COMMANDS
        if words[0] == "kubectl" and "-k" in words
    ]
    assert overlays == [f"manifests/overlays/{name}" for name in ("local", "production", "fast")]
    for overlay in overlays:
        assert rendered(Path(overlay).name)


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
    assert all(f"`{name}=" in GUIDE.read_text() for name in secret["data"])
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


def test_segmentor_knows_every_flag():
    for words in COMMANDS:
        if words[0] != "segmentor":
            continue
        result = subprocess.run(
            [Path(sys.executable).with_name("segmentor"), words[1], "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "200"},
        )
        for flag in _flags(words[2:]):
            assert re.search(rf"{flag}\b", result.stdout), (words[1], flag)


@pytest.mark.parametrize("registry", ["", "registry.example/vision"])
def test_what_is_submitted_names_images_with_and_without_a_registry(registry):
    (block,) = [block for block in BLOCKS if "segmentor submit" in block]
    script = f"kubectl() {{ :; }}\nsegmentor() {{ printf '%s\\n' \"$@\"; }}\n{block}"
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
    prefix = f"{registry}/" if registry else ""
    assert given["predictor_image"] == f"{prefix}segmentor-predictor:{VARIABLES['VERSION']}"
    check_cluster_values(given)


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
    given += re.findall(r"--param (\w+)=", GUIDE.read_text(encoding="utf-8"))
    pipeline = next(yaml.safe_load_all(SEGMENTATION_YAML.read_text(encoding="utf-8")))
    known = pipeline["root"]["inputDefinitions"]["parameters"]
    assert set(given) <= set(known)
    assert {"model_name", "apply", "train_accelerators"} <= set(given)


def test_images_and_the_version_are_the_projects_own(repository):
    from components.container_images import VERSION

    assert VARIABLES["VERSION"] == VERSION
    for words in COMMANDS:
        if words[0] == "images/build.sh":
            assert os.access(repository / words[0], os.X_OK)
            for name in words[1 : words.index("--") if "--" in words else None]:
                assert (repository / f"images/{name}.Dockerfile").is_file()
        if words[0] == "kind":
            assert re.fullmatch(rf"segmentor-(data|trainer|predictor):{VERSION}", words[3])
        if words[0] == "docker":
            assert re.fullmatch(rf".*/segmentor-(data|trainer|predictor):{VERSION}", words[2])


def test_every_file_the_page_names_is_there(repository):
    text = GUIDE.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:manifests|tests|images|docs)/[\w./-]+)`", text):
        assert (repository / path).exists(), path
