"""The words that export may be asked with: read by export itself, and by the check before training.

Standard library only, as the command lines that read it.
"""

SIZE_POLICIES = ("trained", "resize", "native")
PRECISIONS = ("float32", "int8", "both")
