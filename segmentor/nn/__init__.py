"""The part of the shared library that needs torch: network, deployable module, checkpoint."""
