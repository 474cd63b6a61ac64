"""The options of train."""

from dataclasses import dataclass

from components.options import cache_salt, destination, option


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What is trained, and how: Hydra overrides of the training configuration."""

    train_overrides: str = option(
        "",
        "Hydra overrides of the training configuration, separated by spaces "
        "('model.encoder=resnet34 training.epochs=40').",
    )
    destination: str = destination()
    cache_salt: str = cache_salt(is_flag=True)

    def __post_init__(self) -> None:
        # Hydra takes a moment to import: only what has overrides pays for it.
        if self.train_overrides:
            from components.train.configuration.compose import compose_config, split_overrides
            from components.train.configuration.config import to_train_config

            to_train_config(compose_config(split_overrides(self.train_overrides, [])))
