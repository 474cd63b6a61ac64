"""What export may be asked with: read by export itself, by deploy's gate and the check before it.

Standard library only, as the command lines that read it.
"""

SIZE_POLICIES = ("trained", "resize", "native")
PRECISIONS = ("float32", "int8", "both")
# Largest loss of test IoU by int8: what export allows by default, and deploy's gate too.
MAX_IOU_LOSS = 0.01
