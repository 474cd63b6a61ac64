"""Whether figures are of data that the model has seen already: they would flatter it."""

from segmentor.contract import ModelContract


def seen_data_notice(contract: ModelContract, test_digest: str) -> str:
    """Says so when the test set is the very one the model was trained or chosen on; else empty.

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
