"""BART: the encoder, which runs once a prompt, and the decoder, which runs once a token.

Formulas: transformers' `modeling_bart.py` (LayerNorm after each residual). The tied embedding is stored once, for the
output's product and for `handler.florence.embedding`, which looks up what these graphs call words.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto

from handler.florence import embedding

from ..architecture import Text
from ..precision import Precision
from .writer import MICROSOFT, Activation, GraphWriter, Weights

Tensors = Mapping[str, np.ndarray]

_OFFSET = 2  # BART's position tables begin with two unused rows


def write_encoder(text: Text, tensors: Tensors, weights: Weights, precision: Precision) -> GraphWriter:
    """`features` [1, T, d] and the embedded prompt, `words` [1, P, d] -> `memory_key_i`, `memory_value_i`
    [1, h, T + P, d / h] for each layer i of the decoder."""
    graph = GraphWriter("encoder", weights, precision)
    features = graph.input("features", [1, "image_tokens", text.width])
    words = _scaled(graph, graph.input("words", [1, "prompt_tokens", text.width]), text)
    value = graph.node("Concat", features, words, axis=1)
    value = _place(graph, value, text, tensors, "encoder", graph.constant(0))
    heads = text.encoder_heads
    head = text.width // heads
    for i in range(text.encoder_layers):
        name = f"encoder.layers.{i}"
        graph.layer(name)
        left = graph.activation(value)
        queries, keys, values = (
            graph.reshape(_product(graph, left, tensors, f"{name}.self_attn.{part}_proj"), -1, heads, head)
            for part in "qkv"
        )
        left = graph.activation(graph.attention(queries, keys, values, head))
        left = graph.move("Transpose", left, perm=[1, 0, 2])
        left = graph.move("Reshape", left, graph.constant(1, -1, text.width))
        mixed = _product(graph, left, tensors, f"{name}.self_attn.out_proj")
        value = _norm_of_sum(graph, mixed, value, tensors, f"{name}.self_attn_layer_norm")
        hidden = graph.gelu(_product(graph, graph.activation(value), tensors, f"{name}.fc1"))
        hidden = _product(graph, graph.activation(hidden), tensors, f"{name}.fc2")
        value = _norm_of_sum(graph, hidden, value, tensors, f"{name}.final_layer_norm")
    graph.layer("encoder.memory")
    left, heads = graph.activation(value), text.decoder_heads
    head = text.width // heads
    for i in range(text.decoder_layers):
        for part, kind in (("k", "key"), ("v", "value")):
            made = _product(graph, left, tensors, f"decoder.layers.{i}.encoder_attn.{part}_proj")
            made = graph.node("Transpose", graph.reshape(made, 0, -1, heads, head), perm=[0, 2, 1, 3])
            graph.output(made, f"memory_{kind}_{i}", [1, heads, "memory", head])
    return graph


def write_decoder(
    text: Text, tensors: Tensors, locations: range, weights: Weights, precision: Precision
) -> GraphWriter:
    """One step: embedded tokens, `words` [B, S, d], the caches `past_*_i` [B, h, P, d / h] (P = 0 at first), the
    encoder's `memory_*_i` [B, h, M, d / h] and `memory_mask` [B, M] int32 (1: there) -> `scores` [B, V] of the next
    token, `present_*_i`. Where `locations` (one bool) says so, the scores are those of the location tokens alone, whose
    ids the parameter of this name gives, and 0 for all others."""
    graph, heads = GraphWriter("decoder", weights, precision), text.decoder_heads
    head = text.width // heads
    words = graph.input("words", ["batch", "tokens", text.width])
    mask = graph.input("memory_mask", ["batch", "memory"], TensorProto.INT32)
    alone = graph.input("locations", [], TensorProto.BOOL)
    layers = range(text.decoder_layers)
    for i in layers:
        for kind in ("key", "value"):
            graph.input(f"past_{kind}_{i}", ["batch", heads, "past", head])
            graph.input(f"memory_{kind}_{i}", ["batch", heads, "memory", head])
    past = graph.node("Shape", "past_key_0", start=2, end=3)
    value = _place(graph, _scaled(graph, words, text), text, tensors, "decoder", past)
    for i in layers:
        name = f"decoder.layers.{i}"
        graph.layer(name)
        merged = _row_product(graph, value, tensors, [f"{name}.self_attn.{part}_proj" for part in "qkv"], "qkv")
        parts = graph.node("Split", merged, outputs=3, axis=-1, num_outputs=3)
        mixed, key, content = graph.node(
            "MultiHeadAttention",
            *(*parts, "", "", "", f"past_key_{i}", f"past_value_{i}"),
            domain=MICROSOFT,
            outputs=3,
            num_heads=heads,
            unidirectional=1,
        )
        graph.output(key, f"present_key_{i}", ["batch", heads, "total", head])
        graph.output(content, f"present_value_{i}", ["batch", heads, "total", head])
        mixed = _row_product(graph, mixed, tensors, [f"{name}.self_attn.out_proj"])
        value = _norm_of_sum(graph, mixed, value, tensors, f"{name}.self_attn_layer_norm")
        queries = _row_product(graph, value, tensors, [f"{name}.encoder_attn.q_proj"])
        memory = (f"memory_key_{i}", f"memory_value_{i}")
        mixed = graph.node("MultiHeadAttention", queries, *memory, "", mask, domain=MICROSOFT, num_heads=heads)
        mixed = _row_product(graph, mixed, tensors, [f"{name}.encoder_attn.out_proj"])
        value = _norm_of_sum(graph, mixed, value, tensors, f"{name}.encoder_attn_layer_norm")
        hidden = graph.gelu(_row_product(graph, value, tensors, [f"{name}.fc1"]))
        hidden = _row_product(graph, hidden, tensors, [f"{name}.fc2"])
        value = _norm_of_sum(graph, hidden, value, tensors, f"{name}.final_layer_norm")
    graph.layer(embedding.NAME)
    last = graph.node("Slice", value, graph.constant(-1), graph.constant(2**31), graph.constant(1))
    table, bias = tensors["model.language_model.shared.weight"], tensors.get("lm_head.bias")
    some = slice(locations.start, locations.stop)

    def of_locations() -> str:
        made = graph.row_product(last, "text.locations", table[some], None if bias is None else bias[some])
        around = graph.constant(0, 0, locations.start, 0, 0, text.vocabulary - locations.stop)
        return str(graph.node("Pad", made, around))

    scores = graph.either(alone, of_locations, lambda: graph.row_product(last, embedding.NAME, table, bias))
    graph.output(graph.node("Squeeze", scores, graph.constant(1)), "scores", ["batch", text.vocabulary])
    return graph


def _get(tensors: Tensors, name: str) -> tuple[np.ndarray, np.ndarray]:
    return tensors[f"model.language_model.{name}.weight"], tensors[f"model.language_model.{name}.bias"]


def _scaled(graph: GraphWriter, words: str, text: Text) -> str:
    """Rows of the embedding as the checkpoint wants them."""
    if not text.scale_embedding:
        return words
    factor = np.array(text.width**0.5, np.float32)
    return str(graph.node("Mul", words, graph.weight(f"{embedding.NAME}.factor", lambda: factor)))


def _place(graph: GraphWriter, value: str, text: Text, tensors: Tensors, part: str, past: str) -> str:
    """Adds the learnt positions from `past` (a vector of one int64) on, and normalises."""
    table = graph.weight(
        f"{part}.positions", lambda: tensors[f"model.language_model.{part}.embed_positions.weight"][_OFFSET:]
    )
    end = graph.node("Add", past, graph.node("Shape", value, start=1, end=2))
    places = graph.node("Slice", table, past, end, graph.constant(0))
    value = graph.node("Add", value, places)
    return graph.norm(value, f"{part}.norm", *_get(tensors, f"{part}.layernorm_embedding"))


def _product(graph: GraphWriter, left: Activation, tensors: Tensors, name: str) -> str:
    return graph.product(left, name, *_get(tensors, name))


def _row_product(graph: GraphWriter, value: str, tensors: Tensors, names: Sequence[str], merged: str = "") -> str:
    """The products of `names`, side by side in one."""
    weights, biases = zip(*(_get(tensors, name) for name in names), strict=True)
    name = names[0] if len(names) == 1 else f"{names[0].rsplit('.', 1)[0]}.{merged}"
    return graph.row_product(value, name, np.concatenate(weights), np.concatenate(biases))


def _norm_of_sum(graph: GraphWriter, value: str, residual: str, tensors: Tensors, name: str) -> str:
    return graph.norm(graph.node("Add", value, residual), name, *_get(tensors, name))
