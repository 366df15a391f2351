"""BLEU-1 to 4, ROUGE-L and CIDEr over tokenised captions, as COCO's caption evaluation defines them.

Written from the papers; where COCO's code (`pycocoevalcap`) decides what they leave open, it is followed, and said so.
METEOR and SPICE, which need Java and 90 MB of data, are left out. Tokens come from `ptb.tokens`; a caption is a
sequence of them, and each picture has one candidate and one or more references.
"""

import math
from collections import Counter
from collections.abc import Sequence

Tokens = Sequence[str]
Pairs = Sequence[tuple[Tokens, Sequence[Tokens]]]  # for each picture its candidate and its references

LONGEST = 4  # tokens of an n-gram
_BETA = 1.2  # of ROUGE-L: recall weighs more
_SIGMA = 6.0  # of CIDEr: tokens by which a candidate's length may differ


def bleu(pairs: Pairs) -> list[float]:
    """BLEU-1 to BLEU-4 over all pictures together (Papineni et al., 2002): clipped n-gram precisions, brevity penalty.

    As in COCO's code each candidate is held to the length of its closest reference, of two equally close the shorter,
    and a precision of 0 counts as 1e-15 right ones: 0 but for rounding.
    """
    guessed, right, length, reference_length = [0] * LONGEST, [0] * LONGEST, 0, 0
    for candidate, references in pairs:
        words = _words(candidate)
        lengths = [len(_words(one)) for one in references]
        length += len(words)
        reference_length += min(lengths, key=lambda one: (abs(one - len(words)), one))
        allowed: Counter[tuple[str, ...]] = Counter()
        for one in references:
            allowed |= _ngrams(one)
        for ngram, count in _ngrams(candidate).items():
            right[len(ngram) - 1] += min(count, allowed[ngram])
        for n in range(LONGEST):
            guessed[n] += max(0, len(words) - n)
    if not length:
        return [0.0] * LONGEST
    brevity = math.exp(min(0.0, 1 - reference_length / length))
    precisions = [(r + 1e-15) / (g + 1e-9) for r, g in zip(right, guessed, strict=True)]
    return [brevity * math.prod(precisions[: n + 1]) ** (1 / (n + 1)) for n in range(LONGEST)]


def rouge_l(pairs: Pairs) -> float:
    """The mean F-measure (beta 1.2) of the longest common subsequence (Lin, 2004).

    As in COCO's code precision and recall are each the best over the references, and an empty caption counts as one
    empty token.
    """
    scores = []
    for candidate, references in pairs:
        common = [_common(candidate or ("",), one or ("",)) for one in references]
        precision = max(common) / max(1, len(candidate))
        recall = max(c / max(1, len(one)) for c, one in zip(common, references, strict=True))
        both = recall + _BETA**2 * precision
        scores.append((1 + _BETA**2) * precision * recall / both if precision and recall else 0.0)
    return _mean(scores)


def cider(pairs: Pairs) -> float:
    """CIDEr-D (Vedantam et al., 2015): ten times the mean cosine of tf-idf weighted n-grams, n from 1 to 4, clipped,
    with a Gaussian penalty (sigma 6) on the difference of lengths.

    The document frequencies are those of these very references, so that the figure of a handful of pictures says
    little, and that of one picture is 0. As in COCO's code the length is the number of a caption's bigrams.
    """
    frequency = Counter(ngram for _, references in pairs for ngram in {g for one in references for g in _ngrams(one)})
    logs = {ngram: math.log(count) for ngram, count in frequency.items()}
    total = math.log(max(1, len(pairs)))

    def vectors(caption: Tokens) -> tuple[list[dict[tuple[str, ...], float]], list[float]]:
        """The weights of each length's n-grams, and their norms."""
        weights: list[dict[tuple[str, ...], float]] = [{} for _ in range(LONGEST)]
        for ngram, count in _ngrams(caption).items():
            weights[len(ngram) - 1][ngram] = count * (total - logs.get(ngram, 0.0))
        return weights, [math.sqrt(sum(w * w for w in one.values())) for one in weights]

    scores = []
    for candidate, references in pairs:
        mine, norms = vectors(candidate)
        similar = 0.0
        for reference in references:
            theirs, their_norms = vectors(reference)
            difference = max(0, len(_words(candidate)) - 1) - max(0, len(_words(reference)) - 1)
            penalty = math.exp(-(difference**2) / (2 * _SIGMA**2))
            for a, b, norm_a, norm_b in zip(mine, theirs, norms, their_norms, strict=True):
                product = sum(min(weight, b[ngram]) * b[ngram] for ngram, weight in a.items() if ngram in b)
                similar += penalty * (product / (norm_a * norm_b) if norm_a and norm_b else product)
        scores.append(10 * similar / LONGEST / len(references))
    return _mean(scores)


def _words(caption: Tokens) -> list[str]:
    """The tokens as BLEU and CIDEr count them: COCO's code parts a mixed number at its no-break space here."""
    return " ".join(caption).split()


def _ngrams(caption: Tokens) -> Counter[tuple[str, ...]]:
    words = _words(caption)
    return Counter(tuple(words[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(words) - n + 1))


def _common(one: Tokens, other: Tokens) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for token in one:
        diagonal = 0
        for place, against in enumerate(other, 1):
            diagonal, row[place] = row[place], diagonal + 1 if token == against else max(row[place], row[place - 1])
    return row[-1]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
