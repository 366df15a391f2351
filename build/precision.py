"""Which of an artifact's layers are int8 and which fp32.

A layer is a block of the network, all of whose products share one form. Their names are those that the graphs give:
`vision.blocks.2.4.spatial_block`, `encoder.layers.0`, `decoder.layers.5`, `text.embedding` and so on.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Kind = Literal["int8", "fp32"]


@dataclass(frozen=True)
class Precision:
    """`usual` is the kind of all layers but `others`, which have the other one."""

    usual: Kind
    others: Collection[str] = ()

    def of(self, layer: str) -> Kind:
        """The kind of this layer."""
        if layer in self.others:
            return "fp32" if self.usual == "int8" else "int8"
        return self.usual


INT8, FP32 = Precision("int8"), Precision("fp32")
