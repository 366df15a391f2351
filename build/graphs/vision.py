"""DaViT and the projector: pixels [1, 3, S, S] -> image features [1, T, d], T = (S / 32)**2 + 1.

Activations stay [1, H, W, C] between blocks: each depthwise convolution sits between one pair of Transposes, which
ONNX Runtime folds into its own layout; its residual is folded into the kernel's centre. The convolutions between the
stages are products over patches: in int8 three times as fast, and the same on every x86-64 CPU, as fp32 sums over
channels are not. Formulas: transformers' `modeling_florence2.py`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from onnx import TensorProto

from ..architecture import Stage, Vision
from ..precision import Precision
from .writer import Activation, GraphWriter, Weights

Tensors = Mapping[str, np.ndarray]

_END = 2**31  # of a Slice: whatever is left


def write(vision: Vision, tensors: Tensors, size: int, weights: Weights, precision: Precision) -> GraphWriter:
    """The graph for images of `size` x `size` pixels."""
    return _Tower(vision, tensors, size, weights, precision).write()


class _Grid:
    """The places of one stage: `usual` a side at the graph's own size, with `usual_count` windows; the rest are vectors
    of one int64, computed from the image at hand: `side`, `count` (windows a side), `whole` (a side that windows fill)
    and `missing` (what that adds to `side`)."""

    def __init__(self, graph: GraphWriter, value: str, usual: int, window: int) -> None:
        """`value` [1, H, W, C]."""
        self.usual, self.usual_count = usual, -(-usual // window)
        self.side = graph.node("Shape", value, start=1, end=2)
        self.count = graph.node("Div", graph.node("Add", self.side, graph.constant(window - 1)), graph.constant(window))
        self.whole = graph.node("Mul", self.count, graph.constant(window))
        self.missing = graph.node("Sub", self.whole, self.side)


class _Tower:
    def __init__(self, vision: Vision, tensors: Tensors, size: int, weights: Weights, precision: Precision) -> None:
        self.vision, self.tensors, self.size = vision, tensors, size
        self.graph = GraphWriter("vision", weights, precision)

    def write(self) -> GraphWriter:
        value = self.graph.input("pixels", [1, 3, "size", "size"])
        value = self.graph.node("Transpose", value, perm=[0, 2, 3, 1])
        side = self.size
        for i, stage in enumerate(self.vision.stages):
            self.graph.layer(f"vision.convs.{i}")
            value = self._shrink(value, i, stage)
            side = (side + 2 * stage.padding - stage.patch) // stage.stride + 1
            grid = _Grid(self.graph, value, side, self.vision.window)
            for j in range(stage.depth):
                block = f"blocks.{i}.{j}"
                value = self._mix(value, f"{block}.spatial_block", stage, grid)
                value = self._mix(value, f"{block}.channel_block", stage, grid)
        self.graph.output(self._project(value, grid), "features", [1, "image_tokens", self.vision.projection])
        return self.graph

    def _get(self, name: str) -> np.ndarray:
        return self.tensors[f"model.vision_tower.{name}"]

    def _shrink(self, value: str, i: int, stage: Stage) -> str:
        """The convolution at a stage's head, as a product over patches: [1, H, W, C] -> [1, H', W', C']."""
        graph, name = self.graph, f"convs.{i}"
        norm = f"vision.{name}.norm", *self._norm(f"{name}.norm")
        before = stage.prenorm and i > 0
        left = self._patches(graph.activation(graph.norm(value, *norm) if before else value), stage)
        kernel = self._get(f"{name}.conv.weight")
        matrix = kernel.transpose(0, 2, 3, 1).reshape(len(kernel), -1)
        value = graph.product(left, f"vision.{name}", matrix, self._get(f"{name}.conv.bias"))
        return value if before else graph.norm(value, *norm)

    def _patches(self, value: Activation, stage: Stage) -> Activation:
        """[1, H, W, C] -> [1, H', W', patch * patch * C]: what each place of the convolution sees."""
        graph, edge = self.graph, stage.padding
        value = graph.move("Pad", value, graph.constant(0, edge, edge, 0, 0, edge, edge, 0), value.zero)
        for axis in (2, 1):
            ends = [(graph.constant(j), graph.constant(j + 1 - stage.patch or _END)) for j in range(stage.patch)]
            step = graph.constant(stage.stride)
            parts = [graph.move("Slice", value, *pair, graph.constant(axis), step) for pair in ends]
            value = graph.move("Concat", parts[0], *(part.dense for part in parts[1:]), axis=3)
        return value

    def _mix(self, value: str, name: str, stage: Stage, grid: _Grid) -> str:
        """One spatial or channel block: convolution, attention, convolution, feed-forward. [1, H, W, C] all through."""
        graph = self.graph
        graph.layer(f"vision.{name}")
        value = self._depthwise(value, f"{name}.conv1", stage)
        normed = graph.norm(value, f"vision.{name}.norm1", *self._norm(f"{name}.norm1"))
        attend = self._window_attention if name.endswith("spatial_block") else self._channel_attention
        value = graph.node("Add", value, attend(normed, name, stage, grid))
        value = self._depthwise(value, f"{name}.conv2", stage)
        normed = graph.norm(value, f"vision.{name}.norm2", *self._norm(f"{name}.norm2"))
        made = [
            self._product(graph.activation(graph.gelu(self._product(part, f"{name}.ffn.fc1"))), f"{name}.ffn.fc2")
            for part in self._parts(graph.activation(normed), 1, grid.side, grid.usual, 4 * grid.usual * stage.dim)
        ]
        return str(graph.node("Add", value, self._join(made, 1)))

    def _parts(self, value: Activation, axis: int, count: str, usual: int, floats: int) -> list[Activation]:
        """`value` cut along an axis of length `count`, so that what is made of a part, `floats` for each of these, has
        at most 5 MB where there are `usual` of them: at the full size and 384 px 3 % faster and 20 MB less (with 3 MB
        slower by 7 %)."""
        graph = self.graph
        parts = next((n for n in range(1, usual) if usual % n == 0 and usual // n * floats * 4 <= 5 * 2**20), usual)
        if parts == 1:
            return [value]
        ends = [
            graph.once("Div", graph.once("Mul", count, graph.constant(i)), graph.constant(parts))
            for i in range(parts + 1)
        ]
        return [graph.move("Slice", value, *pair, graph.constant(axis)) for pair in pairwise(ends)]

    def _join(self, made: list[str], axis: int) -> str:
        return made[0] if len(made) == 1 else str(self.graph.node("Concat", *made, axis=axis))

    def _norm(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self._get(f"{name}.weight"), self._get(f"{name}.bias")

    def _product(self, left: Activation, name: str) -> str:
        return self.graph.product(left, f"vision.{name}", self._get(f"{name}.weight"), self._get(f"{name}.bias"))

    def _depthwise(self, value: str, name: str, stage: Stage) -> str:
        def kernel() -> np.ndarray:
            weight = self._get(f"{name}.weight").copy()
            weight[:, 0, 1, 1] += 1  # the residual
            return weight

        graph = self.graph
        value = graph.node("Transpose", value, perm=[0, 3, 1, 2])
        value = graph.node(
            "Conv",
            value,
            graph.weight(f"vision.{name}.weight", kernel),
            graph.weight(f"vision.{name}.bias", lambda: self._get(f"{name}.bias")),
            kernel_shape=[3, 3],
            pads=[1] * 4,
            group=stage.dim,
        )
        return str(graph.node("Transpose", value, perm=[0, 2, 3, 1]))

    def _queries_keys_values(self, left: Activation, name: str, *shape: int | str) -> list[str]:
        """Three products that share one quantisation, each in this shape; the checkpoint holds them as one matrix."""
        weight, made = self._get(f"{name}.qkv.weight"), []
        for i, part in enumerate(("q", "k", "v")):
            rows = slice(i * weight.shape[1], (i + 1) * weight.shape[1])
            bias = self._get(f"{name}.qkv.bias")[rows] if self.vision.qkv_bias else None
            product = self.graph.product(left, f"vision.{name}.{part}", weight[rows], bias)
            made.append(self.graph.reshape(product, *shape))
        return made

    def _rearrange(
        self, value: Activation, shape: Sequence[int | str], order: Sequence[int], *to: int | str
    ) -> Activation:
        """Reshaped, transposed and reshaped again."""
        graph = self.graph
        value = graph.move("Reshape", value, graph.vector(*shape))
        return graph.move("Reshape", graph.move("Transpose", value, perm=order), graph.vector(*to))

    def _window_attention(self, value: str, name: str, stage: Stage, grid: _Grid) -> str:
        """Places attend to the places of their window. Between [1, H, W, C] and [place in the window, window, C] go
        bytes; the products of attention read heads and windows as they lie in the latter. A grid that its windows do
        not fill is padded after the norm, as the model was trained: the padding takes part with its bias."""
        graph, window = self.graph, self.vision.window
        name = f"{name}.window_attn"
        left = graph.activation(value)
        pads = graph.vector(0, 0, 0, 0, 0, grid.missing, grid.missing, 0)
        left = graph.move("Pad", left, pads, left.zero)
        heads, width, places = stage.heads, stage.dim // stage.heads, window * window
        split = grid.count, window, grid.count, window, stage.dim
        left = self._rearrange(left, split, (1, 3, 0, 2, 4), 1, places, -1, stage.dim)
        windows = graph.once("Mul", grid.count, grid.count)
        mixed = []
        for part in self._parts(left, 2, windows, grid.usual_count**2, heads * places**2):
            queries, keys, values = self._queries_keys_values(part, name, places, -1, width)
            mixed.append(graph.attention(queries, keys, values, width))
        left = graph.activation(self._join(mixed, 0))
        joined = grid.count, grid.count, heads, window, window, width
        left = self._rearrange(left, joined, (0, 3, 1, 4, 2, 5), 1, grid.whole, grid.whole, stage.dim)
        ends = graph.vector(grid.side, grid.side)
        left = graph.move("Slice", left, graph.constant(0, 0), ends, graph.constant(1, 2))
        return self._product(left, f"{name}.proj")

    def _channel_attention(self, value: str, name: str, stage: Stage, grid: _Grid) -> str:
        """Channels attend to the channels of their group, over all N places: softmax(q^T k / sqrt(N)) applied to v; the
        root of N is the grid's side."""
        graph = self.graph
        name = f"{name}.channel_attn"
        split = -1, stage.groups, stage.dim // stage.groups
        queries, keys, values = self._queries_keys_values(graph.activation(value), name, *split)
        scores = graph.batched(queries, keys, batch="AB", transpose="A")
        scores = graph.node("Div", scores, graph.once("Cast", grid.side, to=TensorProto.FLOAT))
        shares, total = graph.softmax(scores)
        mixed = graph.batched(values, graph.node("Div", shares, total), batch="A", transpose="B")  # [G, N, C / G]
        joined = stage.groups, -1, stage.dim // stage.groups
        left = self._rearrange(graph.activation(mixed), joined, (1, 0, 2), 1, grid.side, grid.side, stage.dim)
        return self._product(left, f"{name}.proj")

    def _project(self, value: str, grid: _Grid) -> str:
        graph, projector = self.graph, "model.multi_modal_projector"
        graph.layer("vision.projection")
        width = self.vision.stages[-1].dim
        value = graph.node("Add", graph.reshape(value, 1, -1, width), self._positions(grid, width))
        mean = graph.node("ReduceMean", value, graph.constant(1), keepdims=1)
        value = graph.node("Concat", mean, value, axis=1)
        weight = self.tensors[f"{projector}.image_projection.weight"]
        value = graph.product(graph.activation(value), "vision.projection", weight)
        norm = f"{projector}.image_proj_norm"
        return graph.norm(value, "vision.projection.norm", self.tensors[f"{norm}.weight"], self.tensors[f"{norm}.bias"])

    def _positions(self, grid: _Grid, width: int) -> str:
        """The sum of place and time embeddings: [1, side * side, C]. Columns fill the first half of the channels, rows
        the second; the only frame is at time 0, whose embedding is sin 0, cos 0, ..."""
        graph, embed = self.graph, "model.multi_modal_projector.image_position_embed"
        halves = []
        for part, axis in (("column", 0), ("row", 1)):
            table = self.tensors[f"{embed}.{part}_embeddings.weight"]
            half = graph.node(
                "Slice", graph.weight(f"vision.{part}s", partial(np.asarray, table)), graph.constant(0), grid.side
            )
            half = graph.node("Unsqueeze", half, graph.constant(axis))
            halves.append(graph.node("Expand", half, graph.vector(grid.side, grid.side, table.shape[1])))
        places = graph.reshape(graph.node("Concat", *halves, axis=2), 1, -1, width)
        time = np.zeros(width, np.float32)
        time[1::2] = 1
        return str(graph.node("Add", places, graph.weight("vision.time", lambda: time)))
