"""What the command line decides, as frozen values."""

from dataclasses import dataclass

from serving.served_model import ModelSource

MIB = 1 << 20
# 12,000 x 9,000 photographs pass. While it is decoded an image takes up to 8 bytes a pixel, later
# mask and reply some 3: with two workers that stays within the 2 GiB of the runtime's pod.
MAX_PIXELS = 120_000_000


@dataclass(frozen=True)
class Limits:
    """What one request may be, and how many there may be at once."""

    max_body_bytes: int = 64 * MIB
    max_pixels: int = MAX_PIXELS
    time_limit_s: float = 30.0
    workers: int = 2
    queue_limit: int = 32

    @property
    def body_budget(self) -> int:
        """Bytes of all bodies in memory: as many as four of the largest take."""
        return 4 * self.max_body_bytes


@dataclass(frozen=True)
class Settings:
    """Everything the predictor is started with; a port of None is not opened."""

    source: ModelSource
    http_port: int = 8080
    grpc_port: int | None = 8081
    limits: Limits = Limits()
    grace_period_s: float = 30.0
