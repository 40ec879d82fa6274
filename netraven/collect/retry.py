"""When a device that failed for a passing reason is tried again in the same run."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from netraven.errors import DeviceFailure


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    ``retries``: how many times at most; ``base`` and ``ceiling`` in seconds. The wait before retry n (from 0) is
    drawn between a half and the whole of ``min(ceiling, base * 2**n)``.
    """

    retries: int = 1
    base: float = 2.0
    ceiling: float = 60.0
    random: random.Random = field(default_factory=random.Random, compare=False, repr=False)

    def wait(self, failure: DeviceFailure, tried: int) -> float | None:
        """Seconds to wait before the next try, None where there is none; ``tried`` retries have been made."""
        if not failure.retriable or tried >= self.retries:
            return None
        longest: float = min(self.ceiling, self.base * 2**tried)
        return longest * (0.5 + self.random.random() / 2)
