"""The torch model behind the served predictor: what an artifact is compared with.

A checkpoint in transformers' layout, with or without a LoRA adapter merged into it by PEFT, answers through the same
code as the artifact: the same pixels, prompts, decoding and scores. Only the network is transformers' own, in fp32.

    Reference(Path("models/mini-checkpoint"), None, 128).predict(image, asks)

Runs on a GPU if there is one.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import numpy as np
import peft
import torch
import transformers
from peft import PeftModel
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from handler.florence import artifact, tokenizer
from handler.florence.engine import Cache, Engine, Memory
from handler.florence.errors import ArtifactError
from handler.florence.predictor import Predictor

from . import base


class Reference(Predictor):
    """The predictor over transformers' network."""

    def __init__(self, checkpoint: Path, adapter: Path | None, image_size: int, name: str | None = None) -> None:
        """Loads a checkpoint and merges the adapter, if any, into it; `image_size` is in pixels a side, `name` the
        checkpoint's where its folder is called otherwise.

        Raises `ArtifactError` where either cannot be loaded.
        """
        name = name or checkpoint.resolve().name
        model: Any
        try:
            model, words = base.load(checkpoint)
            generation = _generation(checkpoint, model)
        except (base.BaseError, OSError, ValueError) as error:
            raise ArtifactError(str(error)) from error
        if adapter:
            try:
                model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
            except Exception as error:  # PEFT's, safetensors' and torch's errors have no common base
                raise ArtifactError(f"{adapter} cannot be merged into {checkpoint}: {error}.") from error
        model.eval().requires_grad_(False).to("cuda" if torch.cuda.is_available() else "cpu")
        text = model.config.text_config
        self._tokenizer = tokenizer.Tokenizer(words, str(checkpoint / "tokenizer.json"))
        self._engine = _TorchEngine(model)
        self.manifest = artifact.Manifest(
            name=" + ".join([name, *([adapter.resolve().name] if adapter else [])]),
            notice="",
            precision="fp32",
            image_size=image_size,
            positions=text.max_position_embeddings,
            vocabulary=text.vocab_size,
            decoder_layers=text.decoder_layers,
            decoder_heads=text.decoder_attention_heads,
            head_width=text.d_model // text.decoder_attention_heads,
            generation=generation,
            base={"id": name},
            adapter={"id": adapter.resolve().name} if adapter else None,
            files={},
            verification={},
            tools={module.__name__: module.__version__ for module in (peft, torch, transformers)},
        )


def fetch(checkpoint: str, revision: str | None) -> Path:
    """The folder of a checkpoint: itself, or the hub's files of an id at a commit. Raises `ArtifactError`."""
    if Path(checkpoint).is_dir():
        return Path(checkpoint)
    if revision is None:
        raise ArtifactError(f"{checkpoint} is no folder; to take it from the hub, give the commit with --revision.")
    try:
        patterns = ["*.json", "*.safetensors"]
        return Path(huggingface_hub.snapshot_download(checkpoint, revision=revision, allow_patterns=patterns))
    except (OSError, ValueError) as error:  # huggingface_hub's errors, and the network's, are all one of these
        raise ArtifactError(f"{checkpoint} at {revision} cannot be fetched: {error}.") from error


def identity(checkpoint: Path, adapter: Path | None) -> str:
    """The sha256 over the sha256s of the weight files of both, in hex."""
    folders = [checkpoint, *([adapter] if adapter else [])]
    weights = [
        path for folder in folders for path in sorted(folder.iterdir()) if path.suffix in (".safetensors", ".bin")
    ]
    return hashlib.sha256("".join(artifact.sha256(path) for path in weights).encode()).hexdigest()


@dataclass(frozen=True)
class _Past(Cache):
    """transformers' own cache, which stays where the model is; `rows` and each step change it in place."""

    kept: EncoderDecoderCache

    def rows(self, index: np.ndarray) -> Cache:
        self.kept.batch_select_indices(torch.from_numpy(index))
        return self


class _TorchEngine(Engine):
    """The engine's four calls over transformers' model.

    The one array of keys in its memory is the encoder's output float32 [B, M, d].
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    @torch.inference_mode()
    def see(self, pixels: np.ndarray) -> np.ndarray:
        return _array(self._model.get_image_features(self._tensor(pixels)).pooler_output)

    @torch.inference_mode()
    def encode(self, features: np.ndarray, prompts: list[list[int]]) -> Memory:
        encoder = self._model.model.language_model.encoder
        made = []
        for prompt in prompts:
            words = encoder.embed_tokens(self._tensor(np.array([prompt])))
            made.append(_array(encoder(inputs_embeds=torch.cat([self._tensor(features), words], dim=1))[0])[0])
        lengths = np.array([len(row) for row in made])
        mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int32)
        hidden = np.stack([np.pad(row, [(0, lengths.max() - len(row)), (0, 0)]) for row in made])
        return Memory([hidden], [], mask)

    def start(self, rows: int) -> Cache:
        return _Past([], [], EncoderDecoderCache(DynamicCache(), DynamicCache()))

    @torch.inference_mode()
    def step(self, ids: np.ndarray, cache: Cache, memory: Memory, locations: bool = False) -> tuple[np.ndarray, Cache]:
        scores = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._tensor(memory.keys[0])),
            attention_mask=self._tensor(memory.mask),
            decoder_input_ids=self._tensor(ids),
            past_key_values=cast(_Past, cache).kept,
            use_cache=True,
        ).logits[:, -1]
        return _array(scores), cache

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._model.device)


def _array(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = tensor.float().cpu().numpy()
    return array


def _generation(checkpoint: Path, model: Any) -> artifact.Generation:
    """The checkpoint's generation settings, from its file: transformers would fill in a `max_length` of 20."""
    text = model.config.text_config
    file = checkpoint / "generation_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    said = {name: value for name, value in settings.items() if value is not None}
    return artifact.Generation(
        decoder_start=said.get("decoder_start_token_id", text.decoder_start_token_id),
        bos=said.get("bos_token_id", text.bos_token_id),
        eos=said.get("eos_token_id", text.eos_token_id),
        pad=said.get("pad_token_id", text.pad_token_id),
        forced_bos=said.get("forced_bos_token_id"),
        forced_eos=said.get("forced_eos_token_id"),
        num_beams=said.get("num_beams", 1),
        no_repeat_ngram_size=said.get("no_repeat_ngram_size", 0),
        early_stopping=said.get("early_stopping", False),
        length_penalty=float(said.get("length_penalty", 1.0)),
        max_length=min(said.get("max_length", text.max_position_embeddings), text.max_position_embeddings),
    )
