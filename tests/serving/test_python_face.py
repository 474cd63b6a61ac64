"""A model behind an address predicts as the same model in this process does."""

import numpy as np
import pytest

import segmentor
from segmentor.errors import PredictorError


def test_an_address_and_a_file_give_the_same_prediction(predictor, street_model, scene):
    local = segmentor.open_model(street_model)
    remote = segmentor.open_model(predictor.url)
    assert remote.digest == local.digest
    assert remote.label_map.names == local.label_map.names
    there, here = remote.predict(scene), local.predict(scene)
    np.testing.assert_array_equal(there.mask, here.mask)
    np.testing.assert_allclose(there.probability, here.probability, atol=1e-6)
    np.testing.assert_array_equal(there.image, scene)
    assert there.overlay().shape == scene.shape


def test_the_name_of_a_model_stands_behind_the_address(predictor, scene):
    name = "scene"
    assert segmentor.open_model(f"{predictor.url}#{name}").predict(scene).mask.any()
    with pytest.raises(PredictorError, match="HTTP 404"):
        segmentor.open_model(f"{predictor.url}#another")
