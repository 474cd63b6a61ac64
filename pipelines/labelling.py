"""The labelling pipeline: labels are pulled, a model ranks, and annotators see it in CVAT."""

from components.convert_labels.component import convert_labels
from components.convert_labels.options import ConvertLabelsOptions
from components.propose.component import propose
from components.propose.options import ProposeOptions
from pipelines.cluster_options import ClusterOptions
from pipelines.declaration import Channels, inputs_of, pipeline
from pipelines.task_settings import set_basics, set_cvat, set_object_store

OPTIONS = (ConvertLabelsOptions, ProposeOptions, ClusterOptions)


@pipeline("labelling", "Labelling", *OPTIONS)
def labelling(values: Channels) -> None:
    """Pull labels, rank what to label next and what looks wrong, and send both to CVAT."""
    # Neither is taken from KFP's cache: annotators work between two runs.
    converted = convert_labels(**inputs_of(values, ConvertLabelsOptions), source_state="")
    set_basics(converted, values["data_image"], hours=6, cpu="250m", memory="1Gi")
    set_object_store(converted, values["object_store_secret"])
    set_cvat(converted.set_caching_options(False))
    proposed = propose(dataset=converted.outputs["dataset"], **inputs_of(values, ProposeOptions))
    set_basics(proposed, values["data_image"], hours=6, cpu="250m", memory="2Gi")
    set_object_store(proposed, values["object_store_secret"])
    set_cvat(proposed.set_caching_options(False))
