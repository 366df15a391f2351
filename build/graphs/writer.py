"""Writes one ONNX graph: nodes, constants, and weights that live in a shared `safetensors` file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from handler.florence import artifact

from .. import quantise
from ..precision import Precision

MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators
EPSILON = 1e-5  # of every LayerNorm in Florence-2


@dataclass
class Weights:
    """Every tensor of the artifact once, whichever graphs read it."""

    tensors: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The tensor of this name; made on first use."""
        if name not in self.tensors:
            self.tensors[name] = np.ascontiguousarray(make())
        return self.tensors[name]


@dataclass(frozen=True)
class Activation:
    """What goes into one or more products: floats, or bytes with their scale and zero point."""

    dense: str
    scale: str = ""
    zero: str = ""


class GraphWriter:
    """Collects one graph. Values are named after the node that makes them; a scope is put before each name."""

    def __init__(self, name: str, weights: Weights, precision: Precision) -> None:
        self.name, self.weights = name, weights
        self.layers: list[str] = []
        self._precision, self._kind = precision, precision.usual
        self._once: dict[tuple[object, ...], str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self._numbers = count()
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._initialisers: dict[str, TensorProto] = {}

    def layer(self, name: str) -> None:
        """What is written from here on belongs to this layer, and has its precision."""
        self.layers.append(name)
        self._kind = self._precision.of(name)

    def input(self, name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> str:
        """Declares an input of the graph."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Declares `value` as the graph's output `name` (float32)."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"{name}/output"))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def node(self, operator: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; returns its output's name, or a tuple of names if there are several."""
        name = f"{operator}_{next(self._numbers)}"
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=name, domain=domain, **attributes))
        return name if outputs == 1 else tuple(names)

    def once(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The node of one output with these inputs and attributes, added where it is not there yet."""
        key = operator, inputs, *sorted(attributes.items())
        if key not in self._once:
            self._once[key] = str(self.node(operator, *inputs, **attributes))
        return self._once[key]

    def either(self, condition: str, then: Callable[[], str], otherwise: Callable[[], str]) -> str:
        """What one of two functions writes, as `condition` (one bool) says; the other's nodes are not computed."""
        outside, branches = (self.nodes, self._once), {}
        for name, write in (("then_branch", then), ("else_branch", otherwise)):
            self.nodes, self._once = [], {}
            made = helper.make_empty_tensor_value_info(write())
            branches[name] = helper.make_graph(self.nodes, name, [], [made])
        self.nodes, self._once = outside
        return str(self.node("If", condition, **branches))

    def weight(self, name: str, make: Callable[[], np.ndarray]) -> str:
        """A tensor in the file of weights, under a readable name."""
        tensor = self.weights.add(name, make)
        if name not in self._initialisers:
            kind = helper.np_dtype_to_tensor_dtype(tensor.dtype)
            proto = TensorProto(name=name, data_type=kind, dims=tensor.shape, data_location=TensorProto.EXTERNAL)
            self._initialisers[name] = proto
        return name

    def constant(self, *values: int) -> str:
        """A small vector of int64, kept in the graph."""
        name = "const_" + "_".join(map(str, values)).replace("-", "m")
        self._initialisers.setdefault(name, helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    def vector(self, *parts: int | str) -> str:
        """A vector of int64: numbers, and values that are such vectors of one."""
        numbers = [part for part in parts if isinstance(part, int)]
        if len(numbers) == len(parts):
            return self.constant(*numbers)
        values = (self.constant(part) if isinstance(part, int) else part for part in parts)
        return self.once("Concat", *values, axis=0)

    def reshape(self, value: str, *shape: int | str) -> str:
        """0 keeps a dimension, -1 is the rest."""
        return str(self.node("Reshape", value, self.vector(*shape)))

    def norm(self, value: str, name: str, scale: np.ndarray, bias: np.ndarray) -> str:
        """LayerNorm over the last dimension."""
        tensors = self.weight(f"{name}.scale", lambda: scale), self.weight(f"{name}.bias", lambda: bias)
        return str(self.node("LayerNormalization", value, *tensors, axis=-1, epsilon=EPSILON))

    def activation(self, value: str) -> Activation:
        """Prepares `value` for `product`: quantised once, however many products share it."""
        if self._kind == "fp32":
            return Activation(value)
        return Activation(*self.node("DynamicQuantizeLinear", value, outputs=3))

    def move(self, operator: str, value: Activation, *inputs: str, **attributes: Any) -> Activation:
        """An operator that only moves numbers: on bytes it has a quarter of the traffic."""
        return replace(value, dense=self.node(operator, value.dense, *inputs, **attributes))

    def batched(self, left: str, right: str, batch: str = "", transpose: str = "", scale: float = 1.0) -> str:
        """`scale * left @ right` for each of a batch: [B, L, K] and [B, K, N] -> [B, L, N]. Of the sides named (A the
        left, B the right) `transpose` turns the last two dimensions about and `batch` the first two: a product reads
        [L, B, K] as it lies."""
        attributes = {f"transBatch{side}": 1 for side in batch} | {f"trans{side}": 1 for side in transpose}
        return str(self.node("FusedMatMul", left, right, domain=MICROSOFT, alpha=scale, **attributes))

    def product(self, left: Activation, name: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        """`left @ weight.T + bias` for many rows; `weight` is [out, in] as torch stores it."""
        biases = () if bias is None else (self.weight(f"{name}.bias", lambda: bias),)
        if not left.scale:
            matrix = self.weight(f"{name}.weight", lambda: weight.T)
            made = self.node("MatMul", left.dense, matrix)
            return str(self.node("Add", made, *biases) if biases else made)
        if f"{name}.weight" not in self.weights.tensors:
            columns, scale = quantise.by_column(weight.T)
            self.weights.add(f"{name}.weight", lambda: columns)
            self.weights.add(f"{name}.scale", lambda: scale)
        stored = [self.weight(f"{name}.{part}", _there) for part in ("weight", "scale")]
        inputs = [left.dense, stored[0], left.scale, stored[1], left.zero, "", *biases]
        return str(self.node("MatMulIntegerToFloat", *inputs, domain=MICROSOFT))

    def row_product(self, value: str, name: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        """The same for one or a few rows: the decoder's form, and that of the tied embedding."""
        if self._kind == "fp32":
            matrix = self.weight(f"{name}.weight", lambda: weight)
            made = self.node("MatMul", value, self.node("Transpose", matrix, perm=[1, 0]))
            if bias is None:
                return str(made)
            return str(self.node("Add", made, self.weight(f"{name}.bias", lambda: bias)))
        self._store_blocks(name, weight)
        inputs = [value, *(self.weight(f"{name}.{part}", _there) for part in ("weight", "scale"))]
        if bias is not None:
            inputs += ["", "", self.weight(f"{name}.bias", lambda: bias)]
        shape = {"N": weight.shape[0], "K": weight.shape[1]}
        # accuracy_level 4: activations in int8 too.
        attributes = {"bits": 8, "block_size": quantise.BLOCK, "accuracy_level": 4}
        return str(self.node("MatMulNBits", *inputs, domain=MICROSOFT, **shape, **attributes))

    def softmax(self, value: str) -> tuple[str, str]:
        """Over the last dimension: the exponentials and their sums, still to be divided.

        Written out, because `Softmax` and `MultiHeadAttention` add in 8 or 16 lanes, whichever the CPU has: the last
        bit differs, and turns roundings to int8 about. These operators add in one order everywhere.
        """
        last = self.constant(-1)
        shares = self.node("Exp", self.node("Sub", value, self.node("ReduceMax", value, last, keepdims=1)))
        return shares, self.node("ReduceSum", shares, last, keepdims=1)

    def attention(self, queries: str, keys: str, values: str, width: int) -> str:
        """[L, B, width] over keys and values [M, B, width] -> [B, L, width]: places come first, as products leave
        them; B counts heads, in every window."""
        scores = self.batched(queries, keys, batch="AB", transpose="B", scale=width**-0.5)
        shares, total = self.softmax(scores)
        return str(self.node("Div", self.batched(shares, values, batch="B"), total))

    def gelu(self, value: str) -> str:
        """The exact Gelu, with erf."""
        return str(self.node("Gelu", value, domain=MICROSOFT))

    def _store_blocks(self, name: str, weight: np.ndarray) -> None:
        if f"{name}.weight" not in self.weights.tensors:
            blocks, scale = quantise.by_block(weight)
            self.weights.add(f"{name}.weight", lambda: blocks)
            self.weights.add(f"{name}.scale", lambda: scale)

    def model(self, places: Mapping[str, artifact.Tensor]) -> onnx.ModelProto:
        """The finished model; `places` tells where each weight lies in the file of weights."""
        for name, proto in self._initialisers.items():
            if proto.data_location == TensorProto.EXTERNAL:
                place = places[name]
                del proto.external_data[:]
                for key, value in (("location", artifact.WEIGHTS), ("offset", place.offset), ("length", place.length)):
                    proto.external_data.add(key=key, value=str(value))
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, [*self._initialisers.values()])
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="florence-lambda")


def _there() -> np.ndarray:
    raise KeyError("a weight is read before it is stored")
