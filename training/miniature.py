"""The miniature: a Florence-2 of the true architecture, small enough to be trained from scratch on two cores.

Its shape, its tokenizer, and what is done to the words that it is not taught. Does not train: `pretrain.py` does.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import BartConfig, Florence2Config, Florence2ForConditionalGeneration, Florence2VisionConfig

from handler.florence import tasks
from handler.florence.tokenizer import complete

from . import shapes
from .lessons import TASKS, lesson

NAME = "florence-2-mini"
IMAGE_SIZE = 128  # pixels a side
WINDOW = 4  # of the tower's attention: divides the grids 32, 16, 8 and 4 of the four stages

EMBED = (32, 64, 128, 256)
_DEPTHS = (1, 1, 3, 1)
_WIDTH = 128  # of the text model
_HEAD = 32  # channels of one attention head, as in Florence-2-base's tower
_LONGEST = 256  # positions of the text model: 17 image tokens and a prompt, or an answer
SPECIAL = 4  # tokens before the words: <s>, <pad>, </s>, <unk>
_READ = 2000  # scenes that the tokenizer is made from: more than enough to hold every word of the world


def train_tokenizer() -> Tokenizer:
    """A byte-level BPE of the same make as BART's, on the prompts and captions of the drawn world, completed with
    Florence-2's 1,024 tokens. Deterministic."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    scenes = [shapes.draw(0, index) for index in range(_READ)]
    sentences = [task.prompt for task in tasks.TASKS]
    sentences += [text for scene in scenes for text in (scene.caption, scene.detailed_caption)]
    # A category stands alone, without a space before it, in the answers of <OD>.
    sentences += [word for scene in scenes for thing in scene.things for word in (thing.shape, thing.phrase)]
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=False, add_prefix_space=False
    )
    complete(tokenizer)
    return tokenizer


def config(vocabulary: int) -> Florence2Config:
    """The miniature's shape, for a tokenizer of `vocabulary` tokens; `<image>` is one more."""
    heads = [width // _HEAD for width in EMBED]
    vision = Florence2VisionConfig(
        depths=_DEPTHS,
        embed_dim=EMBED,
        num_heads=heads,
        num_groups=heads,
        window_size=WINDOW,
        drop_path_rate=0.0,
        projection_dim=_WIDTH,
    )
    text = BartConfig(
        vocab_size=vocabulary + 1,
        max_position_embeddings=_LONGEST,
        d_model=_WIDTH,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=_WIDTH // _HEAD,
        decoder_attention_heads=_WIDTH // _HEAD,
        encoder_ffn_dim=4 * _WIDTH,
        decoder_ffn_dim=4 * _WIDTH,
        dropout=0.0,  # every picture is new: there is nothing to overfit
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
    )
    return Florence2Config(text_config=text.to_dict(), vision_config=vision.to_dict(), image_token_id=vocabulary)


def create(vocabulary: int, seed: int) -> Florence2ForConditionalGeneration:
    """The miniature with fresh weights; the tower's are drawn by fan-in (at the usual 0.02 its features come out the
    same for every picture and it does not learn to see)."""
    torch.manual_seed(seed)
    # "eager" attention: for windows of 16 tokens it trains 1.5 times as fast as "sdpa" on a CPU in bf16.
    described = config(vocabulary)
    described._attn_implementation = "eager"
    model: Any = Florence2ForConditionalGeneration(described)
    for module in (*model.model.vision_tower.modules(), *model.model.multi_modal_projector.modules()):
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            fan_in = float(np.prod(module.weight.shape[1:]))
            torch.nn.init.normal_(module.weight, std=fan_in**-0.5)
    model.generation_config.update(num_beams=1, no_repeat_ngram_size=0, max_length=_LONGEST)
    return cast(Florence2ForConditionalGeneration, model)


def untaught(tokenizer: Tokenizer) -> list[int]:
    """The tokens, in order, that make up words but stand in no question and no answer of the drawn world."""
    rng = np.random.default_rng(0)
    scenes = (shapes.draw(0, index) for index in range(_READ))
    lessons = [lesson(scene, task, rng) for scene in scenes for task in TASKS]
    texts = [text for one in lessons for text in (one.prompt, one.answer)]
    met = {token for read in tokenizer.encode_batch(texts) for token in read.ids}
    first_location = tokenizer.token_to_id("<loc_0>") or 0
    return [token for token in range(SPECIAL, first_location) if token not in met]


def set_apart(model: Florence2ForConditionalGeneration, tokens: Sequence[int], seed: int) -> None:
    """Gives each of these tokens, which training has only ever pushed away, a direction of its own.

    All were pushed by one gradient, so that all 402 ended in one place of the embedding that answers are read off by:
    no state of the decoder could give the first token of `heart` more than 0.20, nor its three together more than
    0.018, and an adapter, which leaves the embedding as it is, could not teach the word. The offsets are as long as
    those between taught words; the place that they start from keeps the tokens as unlikely as before.
    """
    shared: Any = model.get_input_embeddings()
    drawn = torch.randn(len(tokens), _WIDTH, generator=torch.Generator().manual_seed(seed))
    shared.weight.data[list(tokens)] += drawn / _WIDTH**0.5
