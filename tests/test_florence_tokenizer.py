"""The tokenizer against Microsoft's and fairseq's ids, and against transformers on COCO's captions."""

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from handler.florence import tasks
from handler.florence.errors import ArtifactError
from handler.florence.tokenizer import APPENDED, BOS, EOS, PAD, Tokenizer, complete

BASE_VOCABULARY = 50265  # BART's, with its five control tokens


@pytest.fixture
def small() -> tokenizers.Tokenizer:
    """A byte-level BPE tokenizer of the same make with 260 tokens."""
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(vocabulary)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(vocabulary[:4])
    return tokenizer


def test_the_appended_tokens_have_microsofts_ids(refdata: Path, tokenizer: Tokenizer) -> None:
    expected = json.loads((refdata / "florence2_tokenizer" / "added_tokens.json").read_text())
    assert {token: BASE_VOCABULARY + i for i, token in enumerate(APPENDED)} == expected
    assert list(tokenizer.location_ids) == [expected[f"<loc_{bin_}>"] for bin_ in range(1000)]
    assert (tokenizer.bos_id, tokenizer.pad_id, tokenizer.eos_id) == (0, 1, 2)


def test_reference_ids(refdata: Path, library: tokenizers.Tokenizer, tokenizer: Tokenizer) -> None:
    """Texts with their ids from fairseq, transformers, transformers.js and florence-2-sharp.

    Where a vector has no control tokens around it (`add_special_tokens` false), ours are cut off.
    """
    vectors = json.loads((refdata / "florence2_vectors" / "tokenizer_vectors.json").read_text())
    vectors += [
        {"text": vector["expanded"], "ids": vector["ids"], "add_special_tokens": True}
        for vector in json.loads((refdata / "florence2_vectors" / "transformersjs_processor.json").read_text())[
            "prompt_ids"
        ]
    ]
    assert len(vectors) == 17
    for vector in vectors:
        ids = tokenizer.encode(vector["text"])
        if not vector["add_special_tokens"]:
            ids = ids[1:-1]
        if "ids" in vector:
            assert ids == vector["ids"], vector["text"]
        if "tokens" in vector:
            assert [library.id_to_token(id_) for id_ in ids] == vector["tokens"], vector["text"]
        if "decoded" in vector:
            # The text spells "<s>" twice. Upstream's decode keeps control tokens; ours leaves them out.
            assert vector["decoded"].count("<s>") == 2
            assert tokenizer.decode(ids) == vector["decoded"].replace("<s>", "")


def test_agrees_with_transformers(refdata: Path, tokenizer: Tokenizer) -> None:
    """transformers' own tokenizer over vocab.json and merges.txt, with the tokens added as its processor adds them."""
    from transformers import BartTokenizer

    folder = refdata / "florence2_tokenizer"
    theirs = BartTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    theirs.add_special_tokens({"additional_special_tokens": list(APPENDED)})
    captions = json.loads((refdata / "coco_mini" / "captions_val2017_mini79.json").read_text())["annotations"]
    prompts = [task.prompt for task in tasks.TASKS]
    boxes = [f"{caption['caption']}<loc_{i}><loc_{i + 9}>  {i}" for i, caption in enumerate(captions[:50])]
    texts = [caption["caption"] for caption in captions] + prompts + boxes
    assert len(texts) > 400
    for text in texts:
        ids = tokenizer.encode(text)
        assert ids == theirs(text)["input_ids"], text
        assert tokenizer.decode(ids) == text
        assert tokenizer.decode(ids) == theirs.decode(ids[1:-1], clean_up_tokenization_spaces=False)


def test_a_region_becomes_location_ids(tokenizer: Tokenizer) -> None:
    prompt = tasks.find("region-category").ask("<loc_0><loc_1><loc_998><loc_999>")
    ids = tokenizer.encode(prompt)
    assert [id_ for id_ in ids if id_ in tokenizer.location_ids] == [
        tokenizer.location_ids[i] for i in (0, 1, 998, 999)
    ]


@given(ids=st.lists(st.integers(0, 51400), max_size=40))
def test_pieces_join_to_the_librarys_decoding(
    library: tokenizers.Tokenizer, tokenizer: Tokenizer, ids: list[int]
) -> None:
    """Any ids, broken UTF-8 and rows beyond the vocabulary included."""
    pieces = tokenizer.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == tokenizer.decode(ids)
    assert tokenizer.decode(ids) == library.decode([i for i in ids if i not in (0, 1, 2)], skip_special_tokens=False)


@given(text=st.text(max_size=60))
def test_any_text_survives(tokenizer: Tokenizer, text: str) -> None:
    assume(not any(token in text for token in (BOS, PAD, EOS)))  # which decoding leaves out
    ids = tokenizer.encode(text)
    assert (ids[0], ids[-1]) == (tokenizer.bos_id, tokenizer.eos_id)
    assert tokenizer.decode(ids) == text


def test_a_split_character_belongs_to_its_last_token(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("ปี<loc_1>")
    assert tokenizer.pieces(ids) == ["", "", "ป", "", "ี", "<loc_1>", ""]
    # Cut off in mid-character, the replacement character stays with its own token, not with the location's.
    assert tokenizer.pieces([*ids[:2], *ids[5:]]) == ["", "\ufffd", "<loc_1>", ""]
    assert tokenizer.pieces(ids[:2]) == ["", "\ufffd"]


def test_a_small_tokenizer_gets_the_same_tokens_after_its_own(small: tokenizers.Tokenizer, tmp_path: Path) -> None:
    bare_size = small.get_vocab_size()
    complete(small)
    small.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.json")
    assert small.get_vocab_size() == bare_size + len(APPENDED) == 1284
    assert tokenizer.location_ids == range(bare_size + 4, bare_size + 1004)
    text = "a red círcle<loc_1><loc_999>"
    ids = tokenizer.encode(text)
    assert ids[0] == 0
    assert ids[-3:] == [bare_size + 5, bare_size + 1003, 2]
    assert tokenizer.decode(ids) == text


def test_completing_is_idempotent_and_reproducible(small: tokenizers.Tokenizer) -> None:
    small.enable_truncation(8)
    small.enable_padding(pad_id=1, pad_token="<pad>", length=8)
    copy = tokenizers.Tokenizer.from_str(small.to_str())
    complete(small)
    complete(copy)
    assert small.to_str() == copy.to_str()
    complete(copy)
    assert small.to_str() == copy.to_str()
    assert len(Tokenizer(small).encode("longer than eight")) == 19


def test_a_foreign_tokenizer_is_refused(small: tokenizers.Tokenizer) -> None:
    with pytest.raises(ArtifactError, match=r"lacks <od> \(1024 tokens in all\)"):
        Tokenizer(small)
    small.add_special_tokens(["<loc_7>"])
    with pytest.raises(ArtifactError, match="in their order"):
        complete(small)
    without_controls = tokenizers.Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    with pytest.raises(ArtifactError, match="lacks <s>"):
        complete(without_controls)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff\xfe", b'{"version": "1.0"'])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is not a tokenizer"):
        Tokenizer.load(path)
