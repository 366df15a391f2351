"""BLEU, ROUGE-L and CIDEr against published figures and against COCO's own code."""

import json
from pathlib import Path

import pytest

from training.metrics import captions, ptb
from training.metrics.captions import Pairs


def figures(pairs: Pairs) -> list[float]:
    return [*captions.bleu(pairs), captions.rouge_l(pairs), captions.cider(pairs)]


def test_nlg_evals_published_figures(refdata: Path) -> None:
    """The README of Maluuba/nlg-eval."""
    folder = refdata / "metrics" / "caption" / "nlg_eval"
    said, *references = (
        [ptb.tokens(line) for line in (folder / f"{name}.txt").read_text().splitlines()]
        for name in ("hyp", "ref1", "ref2")
    )
    pairs = list(zip(said, zip(*references, strict=True), strict=True))
    published = [0.550000, 0.428174, 0.284043, 0.201143, 0.522104, 1.242192]
    assert figures(pairs) == pytest.approx(published, abs=5e-7)


@pytest.mark.parametrize(
    ("words", "measured"),
    [
        (None, [0.671036949, 0.485536688, 0.343421608, 0.245510477, 0.514907510, 1.133110864]),
        (4, [0.235454899, 0.163949748, 0.104790565, 0.069594204, 0.353824191, 0.410800394]),
        (0, [0, 0, 0, 0, 0, 0]),
    ],
)
def test_cocos_captions_get_the_figures_of_cocos_code(refdata: Path, words: int | None, measured: list[float]) -> None:
    """The first caption of each of 79 pictures, or its first words, against the others: measured with pycocoevalcap
    1.2, its jar included."""
    of: dict[int, list[str]] = {}
    for one in json.loads((refdata / "coco_mini" / "captions_val2017_mini79.json").read_text())["annotations"]:
        of.setdefault(one["image_id"], []).append(one["caption"].replace("\n", " "))
    pairs = [
        (ptb.tokens(" ".join(first.split()[:words])), [ptb.tokens(one) for one in rest]) for first, *rest in of.values()
    ]
    assert figures(pairs) == pytest.approx(measured, abs=1e-9)


def test_the_truth_itself_is_perfect() -> None:
    pairs = [(text.split(), [text.split(), ["other"]]) for text in ("a red circle here", "a blue star and a cross")]
    assert captions.bleu(pairs) == pytest.approx([1] * 4)
    assert captions.rouge_l(pairs) == pytest.approx(1)
    assert captions.cider([(said, references[:1]) for said, references in pairs]) == pytest.approx(10)


def test_no_pictures_are_no_figures() -> None:
    assert figures([]) == [0] * 6
