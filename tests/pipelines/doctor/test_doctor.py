"""`segmentor doctor` on real servers of loopback: what works, what is off, what fails and why."""

import json
import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from http.server import ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from pipelines.doctor.checks import check_store
from pipelines.doctor.examination import examine, table
from pipelines.doctor.finding import Finding, State
from pipelines.doctor.installed import SHOWN
from segmentor import retrying
from tests.emulators.kfp_server import kfp_server
from tests.loopback_servers import Handler, running

OWN = ("S3_ENDPOINT", "AWS_", "KUBECONFIG", "KUBERNETES_", "KF_PIPELINES_", "DOCKER_HOST")
# What an API server of Kubernetes answers, with KServe installed.
VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
BUILD = dict.fromkeys(("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion"), "x")
KSERVE_VERSION = {"groupVersion": "serving.kserve.io/v1beta1", "version": "v1beta1"}


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Take out of the environment whatever is set up; return a copy that a test can add to."""
    for name in filter(lambda name: name.startswith(OWN), list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return dict(os.environ)


def check(subject: str, environment: Mapping[str, str]) -> dict[str, Finding]:
    """Run one check as doctor does; return what it found by what it is about."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.doctor", subject],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [Finding(**{**one, "state": State(one["state"])}) for one in json.loads(done.stdout)]
    return {finding.subject: finding for finding in found}


class ApiServer(Handler):
    """Answers as kube-apiserver does to a user with the right token."""

    groups: tuple[str, ...] = ("serving.kserve.io",)

    def answer(self) -> None:
        if self.headers["Authorization"] != "Bearer right":
            return self.reply(401, {"kind": "Status", "message": "Unauthorized"})
        if self.path == "/version/":
            return self.reply(200, VERSION | BUILD | {"platform": "linux/amd64"})
        if self.path == "/apis/":
            groups = [{"name": name, "versions": [KSERVE_VERSION]} for name in self.groups]
            return self.reply(200, {"kind": "APIGroupList", "groups": groups})
        return self.reply(404, {"kind": "Status", "message": "not found"})


@pytest.fixture
def api_server() -> Iterator[ThreadingHTTPServer]:
    handler = type("Groups", (ApiServer,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, running(server):
        yield server


def kubeconfig(folder: Path, port: int, token: str = "right") -> str:
    path = folder / "kubeconfig"
    names = {"cluster": "here", "user": "me"}
    content = {
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "me", "user": {"token": token}}],
        "contexts": [{"name": "here", "context": names}],
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_a_machine_without_anything_set_up_is_in_order(bare: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "doctor"], env=bare, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
    head, _, *rows = [[cell.strip() for cell in row.split("|")] for row in done.stdout.splitlines()]
    assert head == ["what", "state", "found", "remedy"]
    state = {row[0]: row[1] for row in rows}
    assert state["extra 'trainer'"] == state["extra 'pipelines'"] == "works"
    assert {state[name] for name in ("S3", "Docker", "Kubernetes", "Kubeflow Pipelines")} == {"off"}
    assert all(row[3] for row in rows if row[1] == "off")


def test_what_is_set_up_and_fails_is_exit_code_3(bare: dict[str, str]) -> None:
    bare["S3_ENDPOINT"] = "http://127.0.0.1:9"
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "doctor"], env=bare, capture_output=True, text=True
    )

    assert done.returncode == 3
    (line,) = [row for row in done.stdout.splitlines() if " fails " in row]
    assert "http://127.0.0.1:9: Connection refused" in line
    assert "check S3_ENDPOINT" in line


@pytest.mark.usefixtures("bare")
def test_a_server_that_never_answers_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("S3_ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        (found,) = examine(["S3"], limit=3)

    assert found.state is State.FAILS
    assert found.found == "no answer within 3 s"


@pytest.mark.usefixtures("bare")
def test_a_store_that_never_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(retrying, "LAPTOP_SECONDS", 1.0)
    monkeypatch.setattr(retrying, "LAPTOP_SILENCE_SECONDS", 0.8)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        monkeypatch.setenv("S3_ENDPOINT", address)
        (found,) = check_store()

    assert (found.state, found.found) == (State.FAILS, f"{address}: no answer (ReadTimeoutError)")


def test_every_extra_that_people_use_is_examined(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert {*project["optional-dependencies"]} == {*SHOWN, "dev", "benchmarks"}


def test_an_extra_that_is_newer_than_an_editable_installation_is_examined(
    repository: Path, tmp_path: Path
) -> None:
    metadata = tmp_path / "segmentor-0.0.1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.4\nName: segmentor\nVersion: 0.0.1\n")
    listed = "from pipelines.doctor.installed import installed; print(*installed(), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", listed],
        cwd=tmp_path,  # an installed checkout has metadata of its own
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{repository}"},
        capture_output=True,
        text=True,
        check=True,
    )
    first, *extras = done.stdout.splitlines()
    assert "0.0.1" in first
    assert len(extras) == len(SHOWN)
    assert f"found='ipykernel {version('ipykernel')}'" in extras[-1]


def test_a_line_of_the_table_is_one_line() -> None:
    rows = table([Finding("S3", State.FAILS, "two\nlines", "none")])

    assert len(rows) == 3
    assert "two lines" in rows[2]


def test_the_buckets_of_a_store_are_named(
    store_environment: dict[str, str], bare: dict[str, str]
) -> None:
    found = check("S3", bare | store_environment)["S3"]

    assert found.state is State.WORKS, found
    assert found.found.startswith(store_environment["S3_ENDPOINT"])


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys_are_told_from_an_absent_store(
    wrong: str, store_environment: dict[str, str], bare: dict[str, str]
) -> None:
    found = check("S3", bare | store_environment | {wrong: "another"})["S3"]

    assert found.state is State.FAILS
    assert "AWS_SECRET_ACCESS_KEY" in found.remedy
    assert "Connection refused" not in found.found


def test_a_cluster_with_kserve_works(
    api_server: ThreadingHTTPServer, bare: dict[str, str], tmp_path: Path
) -> None:
    bare["KUBECONFIG"] = kubeconfig(tmp_path, api_server.server_port)
    found = check("Kubernetes", bare)

    assert found["Kubernetes"].state is State.WORKS, found
    assert found["Kubernetes"].found == "context here, v1.34.0"
    assert found["KServe"] == Finding("KServe", State.WORKS, "serving.kserve.io v1beta1")


def test_a_cluster_without_kserve_says_how_to_install_it(
    api_server: ThreadingHTTPServer, bare: dict[str, str], tmp_path: Path
) -> None:
    api_server.RequestHandlerClass.groups = ()  # type: ignore[attr-defined]
    bare["KUBECONFIG"] = kubeconfig(tmp_path, api_server.server_port)
    kserve = check("Kubernetes", bare)["KServe"]

    assert kserve.state is State.OFF
    assert kserve.remedy == "docs/cluster.md installs it"


def test_a_refused_token_and_an_absent_cluster_fail(
    api_server: ThreadingHTTPServer, bare: dict[str, str], tmp_path: Path
) -> None:
    bare["KUBECONFIG"] = kubeconfig(tmp_path, api_server.server_port, "wrong")
    refused = check("Kubernetes", bare)["Kubernetes"]
    bare["KUBECONFIG"] = kubeconfig(tmp_path, 9)
    away = check("Kubernetes", bare)["Kubernetes"]
    bare["KUBECONFIG"] = str(tmp_path / "none")
    missing = check("Kubernetes", bare)["Kubernetes"]

    assert {finding.state for finding in (refused, away, missing)} == {State.FAILS}
    assert refused.found == "context here: HTTP 401 (Unauthorized)"
    assert away.found.startswith("context here: no answer from http://127.0.0.1:9")
    assert "none" in missing.found


def test_kubeflow_pipelines_is_asked_at_its_address(bare: dict[str, str]) -> None:
    with kfp_server() as (address, records):
        works = check("Kubeflow Pipelines", bare | {"KF_PIPELINES_ENDPOINT": address})
        records.login_page = True
        page = check("Kubeflow Pipelines", bare | {"KF_PIPELINES_ENDPOINT": address})
    away = check("Kubeflow Pipelines", bare | {"KF_PIPELINES_ENDPOINT": "http://127.0.0.1:9"})

    assert works["Kubeflow Pipelines"].state is State.WORKS, works
    assert works["Kubeflow Pipelines"].found.startswith(address)
    assert "login page" in page["Kubeflow Pipelines"].found
    assert away["Kubeflow Pipelines"].state is State.FAILS
    assert "no answer" in away["Kubeflow Pipelines"].found


def test_a_cluster_without_kubeflow_pipelines_is_no_failure(
    api_server: ThreadingHTTPServer, bare: dict[str, str], tmp_path: Path
) -> None:
    bare["KUBECONFIG"] = kubeconfig(tmp_path, api_server.server_port)
    found = check("Kubeflow Pipelines", bare)["Kubeflow Pipelines"]

    assert found.state is State.OFF, found
    assert found.remedy == "docs/cluster.md installs it"


def test_an_engine_that_was_chosen_and_is_away_fails(bare: dict[str, str], tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/none.sock"
    found = check("Docker", bare | {"DOCKER_HOST": host})["Docker"]

    assert found == Finding(
        "Docker",
        State.FAILS,
        f"no engine at {host}",
        "start Docker Engine, or set DOCKER_HOST",
    )


def test_a_check_that_breaks_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise RuntimeError('no libcuda')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (found,) = examine(["GPU"])

    assert found.state is State.FAILS
    assert found.found == "the check broke: RuntimeError: no libcuda"
