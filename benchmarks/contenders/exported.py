"""ONNX Runtime on what torch's exporter makes of transformers' model, dynamic int8: what onnx-community publishes.

Three graphs: vision, encoder with the decoder's memory, and one for all steps of the decoder (as published there are
two, which hold its weights twice). Quantised by ONNX Runtime's `quantize_dynamic` in the matrix products and look-ups:
its int8 convolutions are slower than those in fp32.
"""

import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..workload import Work
from . import Contender
from .reading import Reader

LAYERS = 6
GRAPHS = VISION, ENCODER, STEP = "vision", "encoder", "step"
OWN = [f"{kind}_{i}" for i in range(LAYERS) for kind in ("key", "value")]  # of the decoder's own attention
CROSS = [f"cross_{name}" for name in OWN]  # of the encoder's output
Run = Callable[[str, dict[str, np.ndarray]], Sequence[np.ndarray]]


def prepare(contender: Contender, checkpoint: Path, out: Path) -> None:
    """Exports and quantises."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        for graph in export(checkpoint, contender.size, Path(scratch)):
            quantize_dynamic(
                graph, out / graph.name, op_types_to_quantize=["MatMul", "Gather"], weight_type=QuantType.QInt8
            )


def load(contender: Contender, folder: Path, checkpoint: Path, threads: int) -> "Steps":
    """A session for each graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    sessions = {
        name: onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
        for name in GRAPHS
    }
    return Steps(lambda graph, feeds: sessions[graph].run(None, feeds), Reader(checkpoint, contender.size))


class Steps:
    """Greedy decoding over the three graphs, whoever runs them; pictures go one by one."""

    def __init__(self, run: Run, reader: Reader) -> None:
        self._run, self._reader = run, reader

    def answer(self, images: Sequence[bytes], works: Sequence[Work]) -> list[int]:
        """See `Model`."""
        return [self._one(image, work) for image in images for work in works]

    def _one(self, image: bytes, work: Work) -> int:
        (features,) = self._run(VISION, {"pixels": self._reader.pixels([image])})
        prompt = np.array([self._reader.prompt(work.task)], np.int64)
        memory = self._run(ENCODER, {"features": features, "prompt": prompt})
        cross = dict(zip(CROSS, memory, strict=True))
        own: Sequence[np.ndarray] = [one[:, :, :0] for one in memory]
        ids = [2]
        while len(ids) <= work.tokens:
            last = np.array([[ids[-1]]], np.int64)
            scores, *own = self._run(STEP, {"ids": last, **dict(zip(OWN, own, strict=True)), **cross})
            ids.append(int(scores[0, -1].argmax()) if len(ids) > 1 else 0)  # `<s>` is forced
        self._reader.text(ids)
        return len(ids) - 1


def export(checkpoint: Path, size: int, out: Path) -> list[Path]:
    """The three graphs in fp32."""
    import torch
    from transformers import Florence2ForConditionalGeneration
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    model: Any = Florence2ForConditionalGeneration.from_pretrained(checkpoint, attn_implementation="eager")
    model.eval()
    language, text = model.model.language_model, model.config.text_config
    width, heads = text.d_model, text.decoder_attention_heads

    class Part(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model  # or the exporter would take its tensors for constants

    class Vision(Part):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = model.get_image_features(pixels).pooler_output
            return made.reshape(1, -1, made.shape[-1])

    class Encoder(Part):
        def forward(self, features: torch.Tensor, prompt: torch.Tensor) -> tuple[torch.Tensor, ...]:
            embedded = torch.cat([features, language.encoder.embed_tokens(prompt)], dim=1)
            hidden = language.encoder(inputs_embeds=embedded).last_hidden_state
            parts = [
                part
                for layer in language.decoder.layers
                for part in (layer.encoder_attn.k_proj, layer.encoder_attn.v_proj)
            ]
            return tuple(part(hidden).view(1, -1, heads, width // heads).transpose(1, 2) for part in parts)

    class Step(Part):
        def forward(self, ids: torch.Tensor, *past: torch.Tensor) -> tuple[torch.Tensor, ...]:
            own, cross = DynamicCache(), DynamicCache()
            for i in range(LAYERS):
                own.update(past[2 * i], past[2 * i + 1], i)
                cross.update(past[2 * LAYERS + 2 * i], past[2 * LAYERS + 2 * i + 1], i)
            cache = EncoderDecoderCache(own, cross)
            hidden = torch.zeros(1, past[-1].shape[2], past[-1].shape[1] * past[-1].shape[3])  # only its length is read
            made = language.decoder(input_ids=ids, encoder_hidden_states=hidden, past_key_values=cache, use_cache=True)
            layers: Any = own.layers
            news = [one for layer in layers for one in (layer.keys, layer.values)]
            return model.lm_head(made.last_hidden_state), *news

    def write(
        name: str, module: torch.nn.Module, feeds: dict[str, Any], outputs: list[str], free: dict[str, Any]
    ) -> Path:
        path = out / f"{name}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's advice
            torch.onnx.export(
                module.eval(),
                tuple(feeds.values()),
                str(path),
                input_names=list(feeds),
                output_names=outputs,
                dynamic_axes=free,
                opset_version=17,
                dynamo=False,
            )
        return path

    places = (size // 32) ** 2 + 1
    pixels, prompt = torch.randn(1, 3, size, size), torch.tensor([[0, 5, 6, 7, 8, 2]])
    features = torch.randn(1, places, width)
    own = dict.fromkeys(OWN, torch.randn(1, heads, 3, width // heads))
    cross = dict.fromkeys(CROSS, torch.randn(1, heads, places + 6, width // heads))
    news = [f"new_{name}" for name in OWN]
    one = torch.tensor([[2]])
    memory = {name: {2: "memory"} for name in CROSS}
    with torch.no_grad():
        return [
            write(VISION, Vision(), {"pixels": pixels}, ["features"], {}),
            write(
                ENCODER, Encoder(), {"features": features, "prompt": prompt}, CROSS, {"prompt": {1: "words"}} | memory
            ),
            write(
                STEP,
                Step(),
                {"ids": one, **own, **cross},
                ["scores", *news],
                memory | {name: {2: "past"} for name in OWN} | {name: {2: "total"} for name in news},
            ),
        ]
