"""The settings of the command line, as frozen values."""

from dataclasses import dataclass

from serving.engines.loading import ModelSource

MIB = 1 << 20
# Enough for a photograph of 12,000 x 9,000. Decoding takes up to 8 bytes a pixel, mask and reply
# about 3: with two workers that stays within the 2 GiB of the runtime's pod.
MAX_PIXELS = 120_000_000


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of how many there are at once."""

    max_body_bytes: int = 64 * MIB
    max_pixels: int = MAX_PIXELS
    time_limit_s: float = 30.0
    workers: int = 2
    queue_limit: int = 32

    @property
    def body_budget(self) -> int:
        """Bytes of all bodies in memory: four of the largest."""
        return 4 * self.max_body_bytes

    @property
    def reply_budget(self) -> int:
        """Bytes of large replies that are not read yet: one of 256 MiB, and some others."""
        return 448 * MIB


@dataclass(frozen=True)
class Settings:
    """All settings of a predictor; a port of None is not opened."""

    source: ModelSource
    http_port: int = 8080
    grpc_port: int | None = 8081
    limits: Limits = Limits()
    grace_period_s: float = 30.0
    keep_alive_s: int = 3660
