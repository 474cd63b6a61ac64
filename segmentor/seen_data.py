"""Whether figures are of data that the model has seen, or of images too like them."""

from dataclasses import dataclass

from segmentor.contract import ModelContract
from segmentor.dataset import Dataset


def seen_data_notice(contract: ModelContract, test_digest: str) -> str:
    """Say so when the test set is the very one the model was trained or chosen on; else empty.

    Args:
        contract: Of the model.
        test_digest: Of the data set that it is measured on.
    """
    uses = {
        "train_dataset_digest": "trained on",
        "val_dataset_digest": "chosen on (its epoch, and its threshold if it has one)",
    }
    for key, use in uses.items():
        if contract.provenance.get(key) == test_digest:
            return (
                f"The test set is the data set that this model was {use}: the figures say nothing "
                "of other images. Measure on a part that split held back."
            )
    return ""


@dataclass(frozen=True)
class SplitFindings:
    """What the split step found of a test set: leaks, and what it could not compare.

    `is_known` is False for a data set that the split step did not write.
    """

    is_known: bool
    leaks: tuple[str, ...]
    not_compared: str


def split_findings(test_set: Dataset) -> SplitFindings:
    """Read what split wrote into the manifest of a test set."""
    provenance = test_set.manifest.get("provenance", {})
    leaks = provenance.get("leaks")
    if not isinstance(leaks, list):
        return SplitFindings(False, (), "")
    return SplitFindings(True, tuple(map(str, leaks)), str(provenance.get("not_compared", "")))
