"""The wheel in an empty environment, outside the checkout: it predicts as the checkout does."""

import os
import subprocess
import sys

import numpy as np
import pytest
from builders import draw_scene
from red_model import write_red_model

import segmentor
from segmentor.image_io import encode_png

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_wheel_is_enough_to_open_a_model_and_predict(repository, tmp_path):
    script = repository / "packaging/make_wheel.py"
    build = [sys.executable, script, tmp_path / "dist"]
    wheel = subprocess.run(build, check=True, capture_output=True, text=True).stdout.split()[-1]
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin/python"
    constraints = ["--constraint", repository / "constraints.txt"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel, *constraints], check=True)
    model = write_red_model(tmp_path / "model")
    pixels, _ = draw_scene(1)
    (tmp_path / "scene.png").write_bytes(encode_png(pixels))
    code = (
        "import numpy, segmentor, sys\n"
        "model = segmentor.open_model('model')\n"
        "numpy.save('mask.npy', model.predict('scene.png').mask)\n"
        "print(segmentor.__file__)\n"
    )
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=clean, check=True, capture_output=True, text=True
    )

    assert done.stdout.startswith(str(environment))
    expected = segmentor.open_model(model).predict(pixels).mask
    np.testing.assert_array_equal(np.load(tmp_path / "mask.npy"), expected)
    installed = [path.name for path in environment.glob("lib/*/site-packages/*")]
    assert not {"components", "pipelines", "serving"} & set(installed)
