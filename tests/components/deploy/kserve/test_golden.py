"""The golden request, asked of a server that answers as this test tells it."""

import contextlib
from dataclasses import replace

import pytest

from components.deploy.gate.candidate import read_candidate
from components.deploy.kserve import golden
from components.deploy.kserve.golden import check_served
from segmentor.errors import DeployError
from segmentor.image_io import encode_index
from segmentor.inference import predict_mask
from segmentor.onnx_model import OnnxModel
from tests.builders import scenes, write_dataset
from tests.components.deploy.deploy_builders import write_artifacts
from tests.loopback_servers import Handler, serving

LIMIT = 1e-5
PIXELS = 64 * 96


@pytest.fixture(scope="module")
def candidate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    write_dataset(folder / "test", scenes(2))
    model, evaluation, parity, *_ = write_artifacts(folder)
    return read_candidate(model, evaluation, parity, folder / "test")


@pytest.fixture
def serve(candidate):
    """Start a server whose nth answer has an engine and a count of wrong pixels."""
    model = OnnxModel(candidate.files["model.onnx"])

    def start(*answers: tuple[str | None, int]) -> str:
        left = iter(answers)

        class Predictor(Handler):
            def answer(self):
                engine, wrong = next(left)
                content = self.body()
                if engine == "mesh":
                    return self.reply(403, "RBAC: access denied")
                mask = predict_mask(model.forward, model.contract, content)
                mask.reshape(-1)[:wrong] ^= 1
                digest = "sha256:old" if engine == "old pod" else model.digest
                headers = {"X-Segmentor-Digest": digest}
                if engine is not None:
                    headers["X-Segmentor-Engine"] = engine
                return self.reply(200, encode_index(mask), headers)

        return servers.enter_context(serving(Predictor))

    with contextlib.ExitStack() as servers:
        yield start


def test_the_images_kept_with_the_model_are_sent(serve, candidate, caplog):
    caplog.set_level("INFO")
    check_served(serve(("onnxruntime", 0), ("onnxruntime", 0)), "road", candidate, LIMIT)
    assert "golden engine=onnxruntime images=2 pixels=12288 flipped=0" in caplog.text
    assert "max_flipped_fraction=1e-05" in caplog.text


@pytest.mark.parametrize("engine", ["onnxruntime", None])
def test_the_exact_engine_may_not_change_a_pixel_of_these(serve, candidate, engine):
    """A predictor that names no engine is older than the faster ones."""
    with pytest.raises(DeployError) as failure:
        check_served(serve((engine, 0), (engine, 1)), "road", candidate, LIMIT)
    assert "1 of 12288 pixels of engine onnxruntime differ" in str(failure.value)
    assert "expected at most 1e-05 of them" in str(failure.value)
    assert "--engine" not in str(failure.value)


def test_a_faster_engine_may_change_what_the_predictor_lets_it(serve, candidate, caplog):
    caplog.set_level("INFO")
    url = serve(("openvino-int8", 0), ("openvino-int8", PIXELS // 100))
    check_served(url, "road", candidate, LIMIT)
    assert "engine=openvino-int8 images=2 pixels=12288 flipped=61" in caplog.text
    assert "max_flipped_fraction=0.005" in caplog.text
    url = serve(("openvino-int8", 0), ("openvino-int8", PIXELS // 90))
    with pytest.raises(DeployError) as failure:
        check_served(url, "road", candidate, LIMIT)
    assert "68 of 12288 pixels of engine openvino-int8 differ" in str(failure.value)
    assert "expected at most 0.005 of them; serve it with --engine=onnxruntime" in str(
        failure.value
    )


def test_replicas_with_different_engines_are_judged_each_by_its_own_limit(serve, candidate):
    check_served(serve(("openvino", 10), ("onnxruntime", 0)), "road", candidate, LIMIT)
    with pytest.raises(DeployError, match="1 of 6144 pixels of engine onnxruntime differ"):
        check_served(serve(("openvino", 10), ("onnxruntime", 1)), "road", candidate, LIMIT)


def test_an_old_pod_may_answer_for_a_while_after_it_was_replaced(serve, candidate, monkeypatch):
    """It is no longer counted, and pauses before it ends."""
    monkeypatch.setattr(golden, "SECONDS_BETWEEN_REQUESTS", 0.1)
    answers = [("old pod", 0), ("onnxruntime", 0), ("old pod", 0), ("onnxruntime", 0)]
    check_served(serve(*answers), "road", candidate, LIMIT)
    monkeypatch.setattr(golden, "ROUTE_SECONDS", 0.15)
    with pytest.raises(DeployError, match="an answer of model sha256:old"):
        check_served(serve(*[("old pod", 0)] * 9), "road", candidate, LIMIT)


def test_a_service_mesh_that_lets_nobody_in_is_told_with_what_to_do(serve, candidate):
    with pytest.raises(DeployError) as failure:
        check_served(serve(("mesh", 0)), "road", candidate, LIMIT)
    assert "HTTP 403 (b'RBAC: access denied')" in str(failure.value)
    assert "see 'RBAC: access denied' in docs/cluster/troubleshooting.md" in str(failure.value)


def test_an_image_is_drawn_where_none_is_kept(serve, candidate, caplog):
    caplog.set_level("INFO")
    check_served(serve(("onnxruntime", 0)), "road", replace(candidate, samples={}), LIMIT)
    assert "images=1 pixels=4753 flipped=0" in caplog.text
