"""Models of the true sizes with random weights: Florence-2-base (231 M parameters) and BLIP-base (247 M).

Time depends on shapes alone, so that nothing has to be fetched; and on how long an answer is, and whether it reads like
a detection. So the decoder's positions decide what is written: over and over a label of two tokens and the four
locations of a box. Each is the embedding of the token that comes next, ten times as long as others are: six random
layers leave half of its direction, and no other score comes near. The embedding of `</s>` is zero, so that no answer
ends before its limit.
"""

import random
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import models, pre_tokenizers, trainers
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    Florence2Config,
    Florence2ForConditionalGeneration,
    GenerationConfig,
)

from handler.florence import locations, tasks
from handler.florence.tokenizer import APPENDED, Tokenizer, complete

from .workload import LABEL

VOCABULARY = 50265  # of BART's tokenizer
EOS = 2
# microsoft/Florence-2-base's config.json, in transformers' native form, where it differs from the class's defaults.
TEXT = {
    "model_type": "bart",
    "vocab_size": 51328,
    "d_model": 768,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_attention_heads": 12,
    "decoder_attention_heads": 12,
    "encoder_ffn_dim": 3072,
    "decoder_ffn_dim": 3072,
    "max_position_embeddings": 1024,
}
VISION = {"projection_dim": 768}
# Its generation_config.json with one beam, as the seed's recipe decodes.
GENERATION = {
    "bos_token_id": 0,
    "decoder_start_token_id": 2,
    "eos_token_id": EOS,
    "forced_bos_token_id": 0,
    "forced_eos_token_id": EOS,
    "no_repeat_ngram_size": 3,
    "num_beams": 1,
    "pad_token_id": 1,
}


def write_florence(out: Path) -> None:
    """A checkpoint in transformers' native layout, fp32: what merging an adapter and `save_pretrained` leave."""
    torch.manual_seed(0)
    image_token = VOCABULARY + len(APPENDED)
    config = Florence2Config(vision_config=VISION, text_config=TEXT, image_token_id=image_token)
    model: Any = Florence2ForConditionalGeneration(config)
    model.eval()
    tokenizer = _tokenizer()
    complete(tokenizer)
    words = model.get_input_embeddings().weight.data
    words[EOS] = 0
    positions = model.model.language_model.decoder.embed_positions
    answer = _answer(len(positions.weight) - positions.offset, Tokenizer(tokenizer).location_ids)
    positions.weight.data[positions.offset :] = 10 * words[answer]
    model.generation_config = GenerationConfig(**GENERATION)  # type: ignore[no-untyped-call]
    model.save_pretrained(out)
    tokenizer.add_special_tokens(["<image>"])
    tokenizer.save(str(out / "tokenizer.json"))


def write_blip(out: Path) -> None:
    """BLIP-base, whose shapes are the defaults of transformers' class, fp32."""
    torch.manual_seed(0)
    model: Any = BlipForConditionalGeneration(BlipConfig())
    model.eval()
    model.save_pretrained(out)


def _answer(length: int, places: range) -> list[int]:
    """What is written at each position: no token of a label twice, boxes drawn at random."""
    draw = random.Random(0)
    labels = iter(draw.sample(range(4, VOCABULARY), length))
    in_label = [i % (LABEL + locations.BOX) < LABEL for i in range(length)]
    return [next(labels) if one else draw.choice(places) for one in in_label]


def _tokenizer() -> tokenizers.Tokenizer:
    """A byte-level BPE of BART's size, learnt from invented words and the tasks' sentences."""
    draw = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(draw.choices(letters, range(26, 0, -1), k=draw.randint(3, 9))) for _ in range(80_000)]
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 1,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*(task.prompt for task in tasks.TASKS * 1000), *words], trainer)
    tokenizer.add_special_tokens(["<mask>"])
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise RuntimeError(f"the tokenizer has {tokenizer.get_vocab_size()} tokens instead of {VOCABULARY}")
    return tokenizer
