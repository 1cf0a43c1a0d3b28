"""The pickled batches of CIFAR-10, read without running anything that a pickle asks for.

A pickle can name any function and have it called. Here it can name four things, those that the
official batches name, and each of them stands for a class of this module.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_pickled(content: bytes) -> dict[Any, Any]:
    """The dict of a batch: its keys and texts as bytes, its arrays of uint8 as `numpy.ndarray`.

    Raises:
        pickle.UnpicklingError: if it is no such pickle, or names anything else.
    """
    try:
        found = _Reader(io.BytesIO(content), encoding="bytes").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # A damaged pickle may raise any: see Python's documentation.
        raise pickle.UnpicklingError(f"it is damaged ({error})") from error
    if not isinstance(found, dict):
        raise pickle.UnpicklingError(f"it holds a {type(found).__name__} and no dict")
    return {
        key: value.values if isinstance(value, _Array) else value for key, value in found.items()
    }


class _Dtype:
    """Stands for a ``numpy.dtype``."""

    def __init__(self, name: object, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Byte order and the like, which bytes do not have."""


class _Array:
    """Stands for a ``numpy.ndarray``, and for the function that makes an empty one to fill."""

    values: NDArray[np.uint8]

    def __init__(self, *_: object) -> None:
        self.values = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_columns, content = state
        if not isinstance(dtype, _Dtype) or dtype.name not in (b"u1", "u1"):
            raise pickle.UnpicklingError("it has an array of something else than bytes")
        flat = np.frombuffer(content, np.uint8)
        self.values = flat.reshape(shape, order="F" if by_columns else "C")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in _KNOWN:
            raise pickle.UnpicklingError(
                f"it asks for {module_name}.{global_name}, which no batch of CIFAR-10 does"
            )
        return _KNOWN[module_name, global_name]
