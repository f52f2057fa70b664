"""Growing numpy arrays by doubling, so that a new stream costs amortised O(1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["grown"]


def grown(array: NDArray[Any], size: int, *, fill: float = 0) -> NDArray[Any]:
    """Return `array` if its first axis holds `size`, else a copy of twice the length or more."""
    if size <= len(array):
        return array
    length = max(size, 2 * len(array), 16)
    shape = (length, *array.shape[1:])
    larger = np.full(shape, fill, array.dtype) if fill else np.zeros(shape, array.dtype)
    larger[: len(array)] = array
    return larger
