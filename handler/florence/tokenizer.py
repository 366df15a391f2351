"""Text <-> token ids, by the `tokenizers` library alone.

Florence-2's tokenizer is BART's byte-level BPE with 1,024 tokens appended. The `tokenizer.json` of a checkpoint is bare
BART; Microsoft's processor appends the tokens when it is constructed. `complete` does so once, at build time, so that
the artifact's `tokenizer.json` loads as it is.

Does not know the tasks: refusing a user's text that spells a token is `tasks.Task.ask`'s. Does not place the image's
tokens: the engine puts the image's features in front of the prompt.
"""

import codecs
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import AddedToken

from . import locations
from .errors import ArtifactError

# BART's own control tokens. The names are the contract; the ids are read from the file.
BOS, PAD, EOS = "<s>", "<pad>", "</s>"

# `Florence2Processor.__init__` of microsoft/Florence-2-base, in its order ("desciption" is Microsoft's spelling): the
# ids of a full-size model are 50265 to 51288. `<image>`, which transformers' own port appends after these, never occurs
# in text.
APPENDED = (
    *("<od>", "</od>", "<ocr>", "</ocr>"),
    *(f"<loc_{bin_}>" for bin_ in range(locations.BINS)),
    *("<cap>", "</cap>", "<ncap>", "</ncap>", "<dcap>", "</dcap>", "<grounding>", "</grounding>", "<seg>", "</seg>"),
    *("<sep>", "<region_cap>", "</region_cap>", "<region_to_desciption>", "</region_to_desciption>"),
    *("<proposal>", "</proposal>", "<poly>", "</poly>", "<and>"),
)


def complete(tokenizer: tokenizers.Tokenizer) -> None:
    """Appends Florence-2's tokens to a bare byte-level BPE tokenizer, in place; a complete one stays as it is.

    The tokens follow the vocabulary, whatever its size, with contiguous ids. Truncation and padding, which a
    `tokenizer.json` saved after training may ask for, are switched off.
    Raises `ArtifactError` where `<s>`, `<pad>` or `</s>` is missing, or a few of the tokens are there already.
    """
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in APPENDED])
    _check(tokenizer, "the base tokenizer")


class Tokenizer:
    """A complete tokenizer. Ids are plain ints: the engine and the decoding know no text."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, name: str = "the tokenizer") -> None:
        """`name` is what an error calls it. Raises `ArtifactError` if it is not complete."""
        ids = _check(tokenizer, name)
        self.bos_id, self.pad_id, self.eos_id = ids[BOS], ids[PAD], ids[EOS]
        self.location_ids = range(ids["<loc_0>"], ids["<loc_0>"] + locations.BINS)
        self._tokenizer = tokenizer
        self._silent = {self.bos_id, self.pad_id, self.eos_id}
        self._added = tokenizer.get_added_tokens_decoder().keys()

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """The tokenizer of a complete `tokenizer.json`. Raises `ArtifactError` if it is missing, damaged or bare.

        85 ms for the full vocabulary of 51,289 tokens.
        """
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every fault of the file
            raise ArtifactError(f"{path} is not a tokenizer: {error}. Build the artifact again.") from error
        return cls(tokenizer, str(path))

    def encode(self, prompt: str) -> list[int]:
        """`<s>` prompt `</s>`. A token spelt in the prompt, such as `<loc_12>`, becomes its id."""
        return [self.bos_id, *self._tokenizer.encode(prompt, add_special_tokens=False).ids, self.eos_id]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids: location and other tokens as they are spelt, `<s>`, `<pad>` and `</s>` left out.

        Spaces stay as generated ("a cat ." is not tidied to "a cat."). Bytes that are not UTF-8 become U+FFFD.
        """
        return "".join(self.pieces(ids))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The text that each id adds to `decode`, one piece per id: `"".join(pieces(ids)) == decode(ids)`.

        A character split over several tokens belongs to the last of them. An id that adds no text (`<s>`, `<pad>`,
        `</s>`, a row beyond the vocabulary) has an empty piece.
        """
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        pieces: list[str] = []
        for id_ in ids:
            token = None if id_ in self._silent else self._tokenizer.id_to_token(id_)
            if token is None:
                pieces.append("")
            elif id_ in self._added:
                if pieces:
                    pieces[-1] += utf8.decode(b"", final=True)  # an unfinished character is no part of a location
                pieces.append(token)
            else:
                pieces.append(utf8.decode(bytes(_BYTES[character] for character in token)))
        if pieces:
            pieces[-1] += utf8.decode(b"", final=True)
        return pieces


def _check(tokenizer: tokenizers.Tokenizer, name: str) -> dict[str, int]:
    """The ids of the control and appended tokens, all there and the appended ones in order and without a gap."""
    wanted = (BOS, PAD, EOS, *APPENDED)
    ids = {token: id_ for token in wanted if (id_ := tokenizer.token_to_id(token)) is not None}
    missing = [token for token in wanted if token not in ids]
    if missing:
        raise ArtifactError(f"{name} lacks {missing[0]} ({len(missing)} tokens in all): it is not Florence-2's.")
    first = ids[APPENDED[0]]
    if [ids[token] for token in APPENDED] != list(range(first, first + len(APPENDED))):
        raise ArtifactError(f"{name} does not hold Florence-2's {len(APPENDED)} tokens in their order.")
    return ids


def _byte_of_character() -> dict[str, int]:
    """GPT-2's map of the 256 bytes to printable characters, reversed (`bytes_to_unicode` in its encoder.py)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_of_character()
