"""DaViT and the projector: pixels [1, 3, S, S] -> image features [1, T, d], T = (S / 32)**2 + 1.

Activations stay [1, H, W, C] between blocks: each depthwise convolution sits between one pair of Transposes, which
ONNX Runtime folds into its own layout; its residual is folded into the kernel's centre. The convolutions between the
stages are products over patches: in int8 three times as fast, and the same on every CPU, as fp32 sums over channels
are not. Formulas: transformers' `modeling_florence2.py`.
"""

from collections.abc import Mapping

import numpy as np

from ..architecture import Stage, Vision
from .writer import MICROSOFT, Activation, GraphWriter, Precision, Weights

Tensors = Mapping[str, np.ndarray]


def write(vision: Vision, tensors: Tensors, size: int, weights: Weights, precision: Precision) -> GraphWriter:
    """The graph for images of `size` x `size` pixels."""
    return _Tower(vision, tensors, size, weights, precision).write()


class _Tower:
    def __init__(self, vision: Vision, tensors: Tensors, size: int, weights: Weights, precision: Precision) -> None:
        self.vision, self.tensors, self.size = vision, tensors, size
        self.graph = GraphWriter(f"vision_{size}", weights, precision)

    def write(self) -> GraphWriter:
        value = self.graph.input("pixels", [1, 3, self.size, self.size])
        value = self.graph.node("Transpose", value, perm=[0, 2, 3, 1])
        side = self.size
        for i, stage in enumerate(self.vision.stages):
            value = self._shrink(value, i, stage, side)
            side = (side + 2 * stage.padding - stage.patch) // stage.stride + 1
            for j in range(stage.depth):
                block = f"blocks.{i}.{j}"
                value = self._mix(value, f"{block}.spatial_block", stage, side)
                value = self._mix(value, f"{block}.channel_block", stage, side)
        tokens = side * side
        features = self._project(value, side)
        self.graph.output(features, "features", [1, tokens + 1, self.vision.projection])
        return self.graph

    def _get(self, name: str) -> np.ndarray:
        return self.tensors[f"model.vision_tower.{name}"]

    def _shrink(self, value: str, i: int, stage: Stage, side: int) -> str:
        """The convolution at a stage's head, as a product over patches: [1, H, W, C] -> [1, H', W', C']."""
        graph, name = self.graph, f"convs.{i}"
        norm = f"vision.{name}.norm", *self._norm(f"{name}.norm")
        before = stage.prenorm and i > 0
        left = self._patches(graph.activation(graph.norm(value, *norm) if before else value), stage, side)
        kernel = self._get(f"{name}.conv.weight")
        matrix = kernel.transpose(0, 2, 3, 1).reshape(len(kernel), -1)
        value = graph.product(left, f"vision.{name}", matrix, self._get(f"{name}.conv.bias"))
        return value if before else graph.norm(value, *norm)

    def _patches(self, value: Activation, stage: Stage, side: int) -> Activation:
        """[1, H, W, C] -> [1, H', W', patch * patch * C]: what each place of the convolution sees."""
        graph, edge = self.graph, stage.padding
        dense, zero = (value.values, "") if value.quantised is None else (value.quantised[0], value.quantised[2])
        dense = graph.node("Pad", dense, graph.constant(0, edge, edge, 0, 0, edge, edge, 0), zero)
        for axis in (2, 1):
            last = side + 2 * edge - stage.patch + 1
            ends = [(graph.constant(j), graph.constant(last + j)) for j in range(stage.patch)]
            step = graph.constant(stage.stride)
            parts = [graph.node("Slice", dense, *pair, graph.constant(axis), step) for pair in ends]
            dense = graph.node("Concat", *parts, axis=3)
        if value.quantised is None:
            return Activation(dense)
        return Activation(dense, (dense, *value.quantised[1:]))

    def _mix(self, value: str, name: str, stage: Stage, side: int) -> str:
        """One spatial or channel block: convolution, attention, convolution, feed-forward. [1, H, W, C] all through."""
        graph = self.graph
        value = self._depthwise(value, f"{name}.conv1", stage)
        normed = graph.norm(value, f"vision.{name}.norm1", *self._norm(f"{name}.norm1"))
        attend = self._window_attention if name.endswith("spatial_block") else self._channel_attention
        value = graph.node("Add", value, attend(normed, name, stage, side))
        value = self._depthwise(value, f"{name}.conv2", stage)
        normed = graph.norm(value, f"vision.{name}.norm2", *self._norm(f"{name}.norm2"))
        hidden = graph.gelu(self._product(graph.activation(normed), f"{name}.ffn.fc1"))
        return str(graph.node("Add", value, self._product(graph.activation(hidden), f"{name}.ffn.fc2")))

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

    def _queries_keys_values(self, value: str, name: str) -> list[str]:
        """Three products that share one quantisation; the checkpoint holds them as one matrix."""
        weight, left, made = self._get(f"{name}.qkv.weight"), self.graph.activation(value), []
        for i, part in enumerate(("q", "k", "v")):
            rows = slice(i * weight.shape[1], (i + 1) * weight.shape[1])
            bias = self._get(f"{name}.qkv.bias")[rows] if self.vision.qkv_bias else None
            made.append(self.graph.product(left, f"vision.{name}.{part}", weight[rows], bias))
        return made

    def _window_attention(self, value: str, name: str, stage: Stage, side: int) -> str:
        graph, window = self.graph, self.vision.window
        name = f"{name}.window_attn"
        missing = -side % window
        if missing:  # padded after the norm, as the model was trained: the padding takes part with its bias
            value = graph.node("Pad", value, graph.constant(0, 0, 0, 0, 0, missing, missing, 0))
        count = (side + missing) // window
        heads, width = stage.heads, stage.dim // stage.heads
        parts = []
        for part in self._queries_keys_values(value, name):
            split = graph.reshape(part, count, window, count, window, heads, width)
            split = graph.node("Transpose", split, perm=[0, 2, 4, 1, 3, 5])
            parts.append(graph.reshape(split, count * count, heads, window * window, width))
        queries, keys, values = parts
        value = graph.attention(queries, keys, values, width)
        value = graph.reshape(value, count, count, heads, window, window, width)
        value = graph.node("Transpose", value, perm=[0, 3, 1, 4, 2, 5])
        value = graph.reshape(value, 1, side + missing, side + missing, stage.dim)
        if missing:
            value = graph.node("Slice", value, graph.constant(0, 0), graph.constant(side, side), graph.constant(1, 2))
        return self._product(graph.activation(value), f"{name}.proj")

    def _channel_attention(self, value: str, name: str, stage: Stage, side: int) -> str:
        """Channels attend to the channels of their group, over all places: softmax(q^T k / sqrt(N)) applied to v."""
        graph, tokens = self.graph, side * side
        name = f"{name}.channel_attn"
        parts = []
        for part in self._queries_keys_values(value, name):
            grouped = graph.reshape(part, tokens, stage.groups, stage.dim // stage.groups)
            parts.append(graph.node("Transpose", grouped, perm=[1, 0, 2]))  # [G, N, C / G]
        queries, keys, values = parts
        scores = graph.node("FusedMatMul", queries, keys, domain=MICROSOFT, transA=1, alpha=tokens**-0.5)
        shares, total = graph.softmax(scores)
        mixed = graph.node("FusedMatMul", values, graph.node("Div", shares, total), domain=MICROSOFT, transB=1)
        mixed = graph.reshape(graph.node("Transpose", mixed, perm=[1, 0, 2]), 1, side, side, stage.dim)
        return self._product(graph.activation(mixed), f"{name}.proj")

    def _project(self, value: str, side: int) -> str:
        graph, projector = self.graph, "model.multi_modal_projector"
        width = self.vision.stages[-1].dim
        places = graph.weight(f"vision.position_{self.size}", lambda: self._positions(side))
        value = graph.node("Add", graph.reshape(value, 1, side * side, width), places)
        mean = graph.node("ReduceMean", value, graph.constant(1), keepdims=1)
        value = graph.node("Concat", mean, value, axis=1)
        weight = self.tensors[f"{projector}.image_projection.weight"]
        value = graph.product(graph.activation(value), "vision.projection", weight)
        norm = f"{projector}.image_proj_norm"
        return graph.norm(value, "vision.projection.norm", self.tensors[f"{norm}.weight"], self.tensors[f"{norm}.bias"])

    def _positions(self, side: int) -> np.ndarray:
        """The sum of place and time embeddings: [1, side * side, C]. Columns fill the first half of the channels, rows
        the second; the only frame is at time 0, whose embedding is sin 0, cos 0, ..."""
        embed = "model.multi_modal_projector.image_position_embed"
        columns = self.tensors[f"{embed}.column_embeddings.weight"][:side]
        rows = self.tensors[f"{embed}.row_embeddings.weight"][:side]
        grid = np.concatenate(
            [np.broadcast_to(columns, (side, *columns.shape)), np.repeat(rows[:, None], side, axis=1)], axis=2
        ).reshape(1, side * side, -1)
        time = np.zeros(grid.shape[2], np.float32)
        time[1::2] = 1
        return (grid + time).astype(np.float32)
