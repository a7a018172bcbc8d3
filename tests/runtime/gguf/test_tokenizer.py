"""Tokenizers in GGUF: what is in the file gives the same tokens back, by code of the test's own."""

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from dovetail.core.errors import DovetailError
from dovetail.runtime.gguf.splitting import WAYS, named, nearest
from dovetail.runtime.gguf.tokenizer import Tokenizer
from dovetail.runtime.gguf.write import Gguf
from tests.runtime.gguf.conftest import byte_level, save

gguf = pytest.importorskip("gguf")
EMBEDDED = Path(__import__("dovetail").__file__).parent / "model" / "embedded"
TEXT = "def parse(self, text):\n    return [x for x in text.split('\\n')]  # 1984: café, 東京, don't\n\n\n\tend"


def fields(folder: Path, tmp_path: Path) -> dict[str, Any]:
    Gguf.of(folder).write(tmp_path / "m.gguf", "tiny")
    return {f.name: f.contents() for f in gguf.GGUFReader(tmp_path / "m.gguf").fields.values()}


def rebuilt(found: dict[str, Any]) -> tokenizers.Tokenizer:
    """A byte-level BPE from the file's metadata alone, cut as the named way cuts."""
    tokens = found["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in found["tokenizer.ggml.merges"]]
    made = tokenizers.Tokenizer(tokenizers.models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    steps = tokenizers.pre_tokenizers
    cuts = [steps.Split(tokenizers.Regex(p), "isolated") for p in WAYS[found["tokenizer.ggml.pre"]]]
    made.pre_tokenizer = steps.Sequence([*cuts, steps.ByteLevel(False, use_regex=False)])
    made.decoder = tokenizers.decoders.ByteLevel()
    return made


def pieces(text: str, found: dict[str, Any]) -> list[int]:
    """SentencePiece's merging as llama.cpp does it: of all neighbours that are a token, the best score, leftmost."""
    ids = {t: i for i, t in enumerate(found["tokenizer.ggml.tokens"])}
    scores = found["tokenizer.ggml.scores"]
    parts = list((" " + text).replace(" ", "▁"))
    while True:
        pairs = [(scores[ids[a + b]], -i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ids]
        if not pairs:
            break
        i = -max(pairs)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [n for p in parts for n in ([ids[p]] if p in ids else [ids[f"<0x{b:02X}>"] for b in p.encode()])]


def test_the_embedded_models_tokens_come_back(tmp_path: Path) -> None:
    found = fields(EMBEDDED, tmp_path)
    own = tokenizers.Tokenizer.from_file(str(EMBEDDED / "tokenizer.json"))
    assert found["tokenizer.ggml.model"] == "gpt2"
    assert found["tokenizer.ggml.tokens"] == [own.id_to_token(i) for i in range(4096)]
    assert found["tokenizer.ggml.token_type"] == [3] + [1] * 4095
    assert found["tokenizer.ggml.bos_token_id"] == found["tokenizer.ggml.eos_token_id"] == 0
    assert not found["tokenizer.ggml.add_bos_token"]
    other = rebuilt(found)
    assert other.decode(other.encode(TEXT).ids) == own.decode(own.encode(TEXT).ids) == TEXT
    (note,) = Gguf.of(EMBEDDED).tokenizer.notes
    likeness = float(re.search(r"agrees on ([\d.]+)%", note)[1])  # type: ignore[index]
    assert 95 < likeness < 100
    assert found["tokenizer.ggml.pre"] in note


def test_the_stories_models_pieces_come_back(data_folder: Path, tmp_path: Path) -> None:
    folder = data_folder / "models" / "stories260K" / "hf"
    found = fields(folder, tmp_path)
    own = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert found["tokenizer.ggml.model"] == "llama"
    types = found["tokenizer.ggml.token_type"]
    assert types[:3] == [2, 3, 3]
    assert types[3:259] == [6] * 256
    assert set(types[259:]) == {1}
    assert found["tokenizer.ggml.add_bos_token"]
    assert not found["tokenizer.ggml.add_eos_token"]
    assert (found["tokenizer.ggml.bos_token_id"], found["tokenizer.ggml.eos_token_id"]) == (1, 2)
    (corpus, *_) = sorted((data_folder / "corpora" / "tinystories").glob("*.txt"))
    text = corpus.read_text(errors="ignore")[:8000]
    for line in [TEXT, "a", *filter(None, text.splitlines())]:
        assert pieces(line, found) == own.encode(line, add_special_tokens=False).ids


@pytest.mark.parametrize(
    ("pattern", "way"), [(None, "gpt-2"), (WAYS["qwen2"][0], "qwen2"), (WAYS["llama-bpe"][0], "llama-bpe")]
)
def test_known_ways_of_cutting_are_named_and_exact(tmp_path: Path, pattern: str | None, way: str) -> None:
    folder = byte_level(save("llama", tmp_path / "m", vocab_size=310), pattern=pattern)
    found = fields(folder, tmp_path)
    own = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert found["tokenizer.ggml.pre"] == way
    assert Gguf.of(folder).tokenizer.notes == ()
    assert rebuilt(found).encode(TEXT).ids == own.encode(TEXT).ids
    assert found["tokenizer.chat_template"] == "{{ messages }}"
    used = own.get_vocab_size()
    assert found["tokenizer.ggml.tokens"][used:] == [f"[PAD{i}]" for i in range(used, 310)]
    assert found["tokenizer.ggml.token_type"][used:] == [5] * (310 - used)


def test_every_way_is_its_own_nearest(tmp_path: Path) -> None:
    """Unless two cut the text alike, in which case either will do."""
    folder = byte_level(save("llama", tmp_path / "m", vocab_size=310))
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    steps = tokenizers.pre_tokenizers
    for patterns in WAYS.values():
        cuts = [steps.Split(tokenizers.Regex(pattern), "isolated") for pattern in patterns]
        tokenizer.pre_tokenizer = steps.Sequence([*cuts, steps.ByteLevel(False, use_regex=False)])
        assert nearest(tokenizer, TEXT)[1] == 1.0


def test_a_way_that_differs_in_a_step_is_not_taken_for_another() -> None:
    byte = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    assert named(byte) == "gpt-2"
    assert (
        named({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte]}) == "smollm"
    )
    assert named({**byte, "add_prefix_space": True}) is None
    assert named({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, byte]}) is None
    assert named(None) is None


def test_a_tokenizer_that_is_larger_than_the_embedding_is_refused(family: Callable[..., Path], tmp_path: Path) -> None:
    folder = byte_level(save("llama", tmp_path / "m"))
    with pytest.raises(DovetailError, match=r"token \d+, and the embedding has 96 rows"):
        Gguf.of(folder)


def test_other_kinds_of_tokenizers_are_refused(tmp_path: Path) -> None:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DovetailError, match="tokenizers of type WordLevel are not written as GGUF"):
        Tokenizer.of(tmp_path, 2, {})
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(DovetailError, match="not readable JSON"):
        Tokenizer.of(tmp_path, 2, {})
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE"}}))
    with pytest.raises(DovetailError, match="no vocabulary"):
        Tokenizer.of(tmp_path, 2, {})


def test_without_a_tokenizer_tokens_are_numbers(family: Callable[..., Path]) -> None:
    found = Gguf.of(family("llama")).tokenizer
    assert found.fields == {"tokenizer.ggml.model": "none"}
    assert "numbers of tokens only" in found.notes[0]
