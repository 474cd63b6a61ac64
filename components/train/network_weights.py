"""A whole network trained elsewhere as the start: encoder, decoder and, if it fits, the head."""

import logging

from torch import Tensor, nn

from components.train.weight_files import read_weights
from segmentor.errors import ConfigError

logger = logging.getLogger(__name__)

WHERE = "model.weights"
# Its last layer has one channel per class; for other classes it starts from random weights.
HEAD = "segmentation_head."


def load_network_weights(network: nn.Module, source: str) -> None:
    """Load weights into the whole network, in place; a head of other classes is left out.

    Args:
        network: Of segmentation-models-pytorch.
        source: A file, a folder (a checkpoint of train, or of `save_pretrained`), or a URI.

    Raises:
        ConfigError: no such source, or weights of another network.
    """
    own, state = network.state_dict(), read_weights(source, WHERE)
    named = _without_prefix(state, own)
    fits = {key: value for key, value in named.items() if value.shape == own[key].shape}
    missing = [
        name for name in own if name not in fits and not name.endswith("num_batches_tracked")
    ]
    lost = [name for name in missing if not name.startswith(HEAD)]
    if lost:
        name = lost[0]
        found = f"of shape {tuple(named[name].shape)}" if name in named else "which is not there"
        raise ConfigError(
            WHERE,
            f"'{source}': {len(lost)} of {len(own)} tensors do not fit, such as {name}, {found}",
            "a network of the same architecture, encoder and options",
            "set model.architecture, model.encoder and model.options as it was trained, or take "
            "its encoder alone with model.encoder_weights",
        )
    network.load_state_dict({**own, **fits})
    if missing:
        logger.warning(
            "model.weights: the head belongs to other classes and starts from random weights"
        )
    logger.info("network_weights source=%s tensors=%d head=%s", source, len(fits), not missing)


def _without_prefix(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by the network's names: wrappers put `model.`, `module.` before them."""
    first = next(iter(own))
    prefixes = {key.removesuffix(first) for key in state if key.endswith(first)} | {""}
    candidates = [
        {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        for prefix in sorted(prefixes)
    ]
    named = [{key: v for key, v in item.items() if key in own} for item in candidates]
    return max(named, key=len)
