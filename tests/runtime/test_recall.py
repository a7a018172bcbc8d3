"""Recall: prompts with one right answer at any depth, and a shipped model that finds it over thousands of tokens."""

import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dovetail.model
from dovetail.core.errors import DovetailError
from dovetail.runtime.recall.prompts import Prompt, prompts
from dovetail.runtime.recall.texts import notes
from dovetail.runtime.recall.words import ASK, BEGIN, KEY_WORDS, NAMES, NOTE, STOP, VALUE_WORDS, WORDS

FOLDER = Path(dovetail.model.__file__).parent / "recall"


def notes_of(prompt: Prompt) -> list[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    """Place, key and value of each note, read from the text alone."""
    ids, found = prompt.context, []
    for at in (index for index, word in enumerate(ids) if word == NOTE):
        words = ids[at + 1 : at + 1 + KEY_WORDS + VALUE_WORDS]
        assert ids[at + 1 + len(words)] == STOP
        found.append((at, words[:KEY_WORDS], words[KEY_WORDS:]))
    return found


@given(st.integers(64, 700), st.floats(0, 1), st.integers(0, 9), st.data())
def test_a_prompt_has_its_length_and_one_answer(length: int, depth: float, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, (length - 4) // 7))
    (prompt,) = prompts(length, depths=[depth], each=1, count=count, seed=seed)
    assert len(prompt.ids) == length
    assert prompt.ids[0] == BEGIN
    assert BEGIN not in prompt.ids[1:]
    assert ASK not in prompt.context
    found = notes_of(prompt)
    assert len(found) == count
    assert [value for _, key, value in found if (ASK, *key) == prompt.question] == [prompt.answer]
    pairs = Counter(zip(prompt.context, prompt.context[1:], strict=False))
    assert all(pairs[key] == 1 for _, key, _ in found)  # no two names that make a key meet anywhere else


@pytest.mark.parametrize("depth", [0.0, 0.3, 0.5, 1.0])
def test_the_note_lies_at_its_depth(depth: float) -> None:
    for prompt in prompts(2048, depths=[depth], each=4):
        place = next(at for at, key, _ in notes_of(prompt) if key == prompt.question[1:])
        span = len(prompt.context) - 1 - 7  # places that a note can begin at
        assert (place - 1) / span == pytest.approx(depth, abs=10 / span)  # a sentence is not cut


def test_other_notes_mislead() -> None:
    misled = []
    for prompt in prompts(4096, each=4):
        keys = [key for _, key, _ in notes_of(prompt)]
        first, second = prompt.question[1:]
        misled.append([sum(k[0] == first for k in keys) - 1, sum(k[1] == second for k in keys) - 1])
    assert (np.mean(misled, axis=0) > 2).all()


def test_filler_has_phrases_that_come_back_and_names_that_tell_nothing() -> None:
    (prompt,) = prompts(4096, depths=[0.5], each=1)
    inside = {at + step for at, _, _ in notes_of(prompt) for step in range(7)}
    filler = [word if at not in inside else -1 for at, word in enumerate(prompt.context)]
    fives = Counter(run for run in zip(*(filler[i:] for i in range(5)), strict=False) if min(run) > NAMES.stop - 1)
    assert max(fives.values()) > 5
    mentioned = [word for word in filler if word in NAMES]
    assert 0.005 < len(mentioned) / len(filler) < 0.05


def test_prompts_are_the_same_again_and_others_by_seed() -> None:
    assert prompts(512, each=2) == prompts(512, each=2)
    assert prompts(512, each=2)[0].ids != prompts(512, each=2, seed=1)[0].ids
    assert len({p.ids for p in prompts(512, each=4)}) == 20


@given(st.integers(1, 256), st.integers(0, 99))
def test_keys_of_notes_are_distinct(count: int, seed: int) -> None:
    drawn = notes(np.random.default_rng(seed), count)
    assert drawn.shape == (count, 5)
    assert len({tuple(row[:KEY_WORDS]) for row in drawn.tolist()}) == count
    assert ((drawn >= NAMES.start) & (drawn < NAMES.stop)).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"length": 100, "count": 50}, "at least 354"), ({"length": 100_000, "count": 300}, "count=256"),
        ({"length": 256, "depths": [1.5]}, "depths"), ({"length": 256, "each": 0}, "0 prompts"),
        ({"length": 8, "count": 0}, "0 notes"),
    ],
)  # fmt: skip
def test_prompts_out_of_range_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(DovetailError, match=words):
        prompts(**given)


torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from dovetail.runtime.decoding.cache import KVCache  # noqa: E402
from dovetail.runtime.load import Loaded, load  # noqa: E402
from dovetail.runtime.recall.measure import recall  # noqa: E402


@pytest.fixture(scope="module")
def shipped() -> Loaded:
    return load(FOLDER)


class Cut:
    """The prompt's beginning and end alone, as StreamingLLM keeps them: what lies between was never read."""

    def __init__(self, sink: int, newest: int) -> None:
        self.sink, self.newest = sink, newest

    def prefilled(self, runner: Any, ids: Any) -> tuple[KVCache, Any]:
        left = ids if len(ids) <= self.sink + self.newest else torch.cat((ids[: self.sink], ids[-self.newest :]))
        cache = KVCache(len(runner.layers), 1, len(left), runner.device)
        states = runner.forward(left.unsqueeze(0), cache)[0]
        cache.keep([len(left)])
        return cache, states


def test_it_is_small_and_groups_its_queries(shipped: Loaded) -> None:
    config = shipped.model.config
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 2e6
    assert config.architectures == ["LlamaForCausalLM"]
    assert config.num_key_value_heads >= 2
    assert config.num_attention_heads >= 2 * config.num_key_value_heads
    assert config.max_position_embeddings >= 8192


def test_the_card_tells_of_these_weights(shipped: Loaded) -> None:
    card = (FOLDER / "README.md").read_text()
    assert hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest() in card
    assert f"{shipped.model.num_parameters():,}" in card


def test_its_tokenizer_takes_words(shipped: Loaded) -> None:
    (prompt,) = prompts(256, depths=[0.5], each=1)
    assert tuple(shipped.tokenizer(prompt.text).input_ids) == prompt.ids
    assert shipped.tokenizer.decode(prompt.answer) == " ".join(WORDS[word] for word in prompt.answer)


@pytest.mark.parametrize("question", ["inside", "after"])
def test_it_finds_notes_over_4096_tokens(shipped: Loaded, question: str) -> None:
    found = recall(shipped, length=4096, depths=[0, 0.3, 0.6, 1], each=2, question=question)
    assert found.share >= 0.875  # seven of eight: the card says 96 %
    assert found.cache_bytes == 4096 * 2 * 2 * 2 * 32 * 4  # layers, keys and values, heads, channels, fp32


def test_transformers_gives_the_same_words(shipped: Loaded) -> None:
    for prompt in prompts(1024, depths=[0.2, 0.8], each=1):
        made = shipped.model.generate(torch.tensor([prompt.ids]), max_new_tokens=VALUE_WORDS, do_sample=False)
        assert tuple(made[0, -VALUE_WORDS:].tolist()) == prompt.answer


def test_a_cut_prompt_is_remembered_where_it_is_left_alone(shipped: Loaded) -> None:
    found = recall(shipped, length=2048, depths=[0, 0.5, 1], each=4, plan=Cut(sink=16, newest=240))
    assert [row.share for row in found.depths] == [1, 0, 1]


@pytest.mark.parametrize(("asked", "words"), [({"question": "insid"}, "inside"), ({"length": 16384}, "--length 16381")])
def test_what_it_cannot_measure_is_refused(shipped: Loaded, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(DovetailError, match=words):
        recall(shipped, **asked)


def test_another_vocabulary_is_refused() -> None:
    with pytest.raises(DovetailError, match="the model 'recall'"):
        recall(load(FOLDER.parent / "embedded"))


def test_the_verb_tells_depths(capsys: pytest.CaptureFixture[str]) -> None:
    from dovetail.app.cli import main

    assert main(["recall", "w8a16", "--length", "256", "--each", "1", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[3:8]] == [[depth, "1", "1"] for depth in ("0%", "25%", "50%", "75%", "100%")]
    assert re.search(r"^recall +100\.0% \(56\.6% to 100\.0%\) by w8a16$", "\n".join(lines), re.M)
