"""The demo: synthetic road scenes, packed as a CVAT export, through the whole pipeline."""
