"""The images as they were built: what is in them, who may run them, how large they are."""

import json
import re

import pytest

from components.container_images import DATA, PREDICTOR, TRAINER, VERSION
from tests.images.conftest import PREDICTOR_OPENVINO
from tests.images.image_steps import steps_by_image

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

STEPS = steps_by_image()
# On the Debian base; python:3.11-slim differs by some 60 MB.
LARGEST_MB = {DATA: 700, PREDICTOR: 800, PREDICTOR_OPENVINO: 900}

IMPORT_ALL = """
import importlib, pkgutil, sys
sys.argv = sys.argv[:1]
names = [m.name for m in pkgutil.walk_packages(["/app"]) if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names), "torch" in sys.modules)
"""


def run(engine, image, command, **options) -> str:
    output = engine.containers.run(
        image,
        command,
        entrypoint="",
        remove=True,
        user="12345:0",
        read_only=True,
        tmpfs={"/tmp": "size=256m,mode=1777"},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        network_mode="none",
        **options,
    )
    return output.decode()


@pytest.mark.parametrize("image", [DATA, TRAINER, PREDICTOR])
def test_every_module_imports_as_an_arbitrary_user(engine, image):
    count, has_torch = run(engine, image, ["python", "-c", IMPORT_ALL]).split()[-2:]
    assert int(count) > 10
    assert has_torch == str(image == TRAINER)


@pytest.mark.parametrize(("image", "step"), [(i, s) for i, steps in STEPS.items() for s in steps])
def test_each_step_answers(engine, image, step):
    assert "usage: python -m components." in run(
        engine, image, ["python", "-m", f"components.{step}", "--help"]
    )


@pytest.mark.parametrize("image", [DATA, PREDICTOR])
def test_torch_is_not_there(engine, image):
    code = "import importlib.util as u; print(u.find_spec('torch'), u.find_spec('segmentor.nn'))"
    assert run(engine, image, ["python", "-c", code]).strip() == "None None"


@pytest.mark.parametrize("image", [DATA, TRAINER, PREDICTOR])
def test_steps_of_other_images_and_tools_are_not_there(engine, image):
    # The predictor's image has no components.
    steps = "cd /app/components; ls -d */__main__.py | xargs -n1 dirname"
    commands = f"ls /app; if [ -d /app/components ]; then {steps}; fi"
    listing = run(engine, image, ["sh", "-c", commands])
    assert not {"pipelines", "tests", ".git"} & set(listing.split())
    assert not run(engine, image, ["find", "/app", "-name", "component.py"])
    for other, steps in STEPS.items():
        if other != image:
            assert not set(steps) & set(listing.split())
    code = "import importlib.util as u; print(u.find_spec('pip'), u.find_spec('kfp'))"
    assert run(engine, image, ["/opt/venv/bin/python", "-c", code]).strip() == "None None"


@pytest.mark.parametrize("image", [DATA, TRAINER, PREDICTOR])
def test_bytecode_is_compiled_and_authorities_are_there(engine, image):
    listing = run(engine, image, ["sh", "-c", "ls /app/segmentor/__pycache__"])
    assert "contract.cpython-311.pyc" in listing
    code = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
    assert int(run(engine, image, ["python", "-c", code])) > 50
    # No secret of the build stays behind.
    leftovers = run(engine, image, ["sh", "-c", "ls /etc/pip.conf /run/secrets/* 2>/dev/null; :"])
    assert leftovers.strip() == ""


@pytest.mark.parametrize("image", [DATA, TRAINER, PREDICTOR])
def test_labels_and_user(engine, image):
    config = engine.api.inspect_image(image)["Config"]
    assert config["Labels"]["org.opencontainers.image.version"] == VERSION
    revision = config["Labels"]["org.opencontainers.image.revision"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", revision)
    assert config["User"] == "1000:0"
    expected = ["python", "-m", "serving"] if image == PREDICTOR else None
    assert config["Entrypoint"] == expected
    assert "PYTHONPATH" not in json.dumps(config["Env"])


@pytest.mark.parametrize("image", LARGEST_MB)
def test_size(engine, image):
    assert engine.api.inspect_image(image)["Size"] / 1e6 < LARGEST_MB[image]
