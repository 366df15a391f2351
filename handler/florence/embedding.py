"""The token embedding: token ids in, rows out, read where they lie in the artifact's file of weights.

Not in the graphs: a session that looks rows up keeps the whole table mapped, which laying out the output's product has
read (the two are tied): 40 MB at the full size.
"""

import mmap
from pathlib import Path
from typing import Any

import numpy as np

from . import artifact
from .errors import ArtifactError

NAME = "text.embedding"  # of its tensors: NAME.weight, and NAME.scale in int8
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}
_ZERO = np.float32(128)  # the zero point of `build.quantise.by_block`


class Embedding:
    """The rows of `NAME`: float32 [V, d], or int8 by blocks as `build.quantise.by_block` writes them."""

    def __init__(self, path: Path, width: int) -> None:
        """`path`: the file of weights; `width`: d. Raises `ArtifactError` if the table is not there."""
        try:
            places = artifact.tensors(path)
            with path.open("rb") as file:
                whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._rows = _view(whole, places[f"{NAME}.weight"])
            self._scale = _view(whole, places[f"{NAME}.scale"]) if self._rows.dtype == np.uint8 else None
        except (OSError, KeyError, OverflowError, ValueError) as error:
            raise ArtifactError(f"{path} holds no embedding: {error}. Build the artifact again.") from error
        self._width = width

    def look_up(self, ids: np.ndarray) -> np.ndarray:
        """int64 [B, L] -> float32 [B, L, d]."""
        rows: np.ndarray = self._rows[ids]
        if self._scale is not None:
            rows = (rows.astype(np.float32) - _ZERO) * self._scale[ids][..., None]
            rows = rows.reshape(*ids.shape, -1)[..., : self._width]  # without what fills the last block
        return rows


def _view(whole: mmap.mmap, tensor: artifact.Tensor) -> np.ndarray:
    dtype = _DTYPES[tensor.dtype]
    return np.frombuffer(whole, dtype, tensor.length // dtype.itemsize, tensor.offset).reshape(tensor.shape)
