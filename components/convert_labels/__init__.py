"""convert_labels: a CVAT export becomes a checked data set artifact."""
