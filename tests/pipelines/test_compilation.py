from pipelines.compilation import SEGMENTATION_YAML, compile_segmentation


def test_the_committed_pipeline_is_fresh(tmp_path):
    compiled = compile_segmentation(tmp_path / "segmentation.yaml")
    assert compiled.read_text() == SEGMENTATION_YAML.read_text(), "run make compile"
