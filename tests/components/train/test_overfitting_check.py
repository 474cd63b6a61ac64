"""`training=overfit_batch` is a check: nothing it measures may be read as a model's quality."""

import json

from segmentor.nn.checkpoint import load_checkpoint


def test_the_report_and_the_contract_say_that_it_is_no_model(train, road_data, tmp_path):
    outputs = train(road_data, tmp_path, "training=overfit_batch", "training.epochs=1")
    assert outputs.code == 0
    provenance = load_checkpoint(outputs.checkpoint).contract.provenance
    assert provenance["overfit_batches"] == 1
    assert not [name for name in provenance if name.startswith("val_")]
    page = (tmp_path / "report.html").read_text()
    assert "An overfitting check, not a model: trained on the first 4 images" in page
    assert "on its own training batch" in page
    assert "val_iou" in json.loads((tmp_path / "metrics.json").read_text())
