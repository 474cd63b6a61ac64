"""The shared library of Segmentor: what more than one step, or a step and the predictor, both need.

No torch outside `segmentor.nn`, no kfp anywhere. Dimension letters used in shape comments:
N batch, H and W source height and width, h and w network height and width, C classes (1 when the
model is binary), K classes of the label map. Sizes are always `(height, width)`, points `(y, x)`.
"""

__version__ = "0.1.0"
