"""Booleans as text: in flags, in parameters, and as KFP's two orchestrators write them."""

import argparse


def read_boolean(text: str) -> bool:
    """Read true or false; the cluster and kfp.local write it differently.

    Raises:
        ArgumentTypeError: neither; argparse makes it a usage error.
    """
    if text.strip().lower() in ("true", "1", "yes"):
        return True
    if text.strip().lower() in ("false", "0", "no", ""):
        return False
    raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false")
