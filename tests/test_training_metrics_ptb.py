"""The tokeniser against the program whose tokens published figures are computed on.

`ptb_tokens.tsv` holds 504 sentences and what Stanford's `PTBTokenizer` (CoreNLP 3.4.1, the jar in pycocoevalcap 1.2,
`-preserveLines -lowerCase`, each line between two of its own, punctuation dropped as COCO's evaluation does) made of
them; some tokens hold a no-break space. The sentences were put together at random from a few dozen words of captions
and some two hundred odd forms: contractions, abbreviations, numbers, brackets, quotes, symbols.
"""

import hashlib
import json
from pathlib import Path

import pytest

from training.metrics import ptb

TABLE = [
    line.split("\t") for line in (Path(__file__).parent / "ptb_tokens.tsv").read_text(encoding="utf-8").splitlines()
]


def test_every_sentence_of_the_table_has_the_tokens_that_the_jar_gave() -> None:
    assert len(TABLE) == 504
    assert [(text, " ".join(ptb.tokens(text))) for text, _ in TABLE] == [tuple(row) for row in TABLE]


def test_cocos_own_captions_have_the_tokens_that_the_jar_gave(refdata: Path) -> None:
    """395 captions; what the jar gave is known by its sha256."""
    annotations = json.loads((refdata / "coco_mini" / "captions_val2017_mini79.json").read_text())["annotations"]
    lines = [" ".join(ptb.tokens(" ".join(one["caption"].split()))) for one in annotations]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert digest == "603c323cf07a91d168d5fc2c793a6ca2d5a5173abcb8b913caccd142139410ed"


@pytest.mark.parametrize("text", ["", "  ", "\n", ". , !", "\u200b", "😀", "'", "\x00", "\ud800", "a" * 10_000])
def test_nothing_raises(text: str) -> None:
    assert all(ptb.tokens(text))
