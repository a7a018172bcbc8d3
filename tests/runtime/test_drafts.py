"""Drafts against plain decoding: a smaller model, the first layers, a layer that guesses hidden states."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional

from dovetail.core.errors import DovetailError
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.draft import DraftModel, early_exit
from dovetail.runtime.decoding.drafting import DraftedPass, Drafter, DraftSizing, caterpillar, unknown, worth
from dovetail.runtime.decoding.eagle import Eagle, EagleLayer, EagleShape
from dovetail.runtime.decoding.lookup import PromptLookup
from dovetail.runtime.decoding.loop import Decoded, Loop
from dovetail.runtime.decoding.proposal import Text
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Chooser, Sampling
from dovetail.runtime.decoding.sizing import PassTime, Sizing
from dovetail.runtime.decoding.speculation import Guess, Source, Speculation
from dovetail.runtime.decoding.speculator import Speculator
from dovetail.runtime.decoding.tree import Tree
from dovetail.runtime.load import Loaded

_SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.2, "head_dim": 16,
    "eos_token_id": None, "bos_token_id": None, "pad_token_id": 0,
}  # fmt: skip
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "qwen3": ("Qwen3Config", {}),
    "gemma2": ("Gemma2Config", {"sliding_window": 6, "query_pre_attn_scalar": 16}),
    "gemma3": ("Gemma3TextConfig", {"sliding_window": 6, "query_pre_attn_scalar": 16}),
    "gpt2": ("GPT2Config", {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128}),
}
PROMPTS = ([5], [7, 9, 11, 13, 17, 19, 23, 29, 31, 37], [3, 4, 5], [50, 60, 70, 80, 90])
SAMPLINGS = [Sampling(), Sampling(0.8, top_k=20, seed=3)]


def model(name: str, seed: int = 1, **more: Any) -> Loaded:
    kind, changes = _FAMILIES[name]
    torch.manual_seed(seed)
    plain = ("vocab_size", "eos_token_id", "bos_token_id")
    sizes = {key: value for key, value in _SIZES.items() if kind != "GPT2Config" or key in plain}
    config = getattr(transformers, kind)(**{**sizes, **changes, **more})
    attention = "eager" if kind == "Gemma2Config" else "sdpa"
    module = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    return Loaded(module, None, Path(name))


@pytest.fixture(scope="module", params=_FAMILIES)
def family(request: pytest.FixtureRequest) -> Loaded:
    return model(request.param)


@pytest.fixture(scope="module")
def llama() -> Loaded:
    return model("llama")


def decode(loaded: Loaded, draft: Drafter | None = None, max_new: int = 36, **more: Any) -> Decoded:
    proposer = draft.alone() if draft else None
    sampling, prompts = more.pop("sampling", Sampling()), more.pop("prompts", PROMPTS)
    return Loop(runner_of(loaded), max_new, sampling, proposer=proposer, **more).run(prompts)


def layer_for(loaded: Loaded, ranks: int = 3, depth: int = 4) -> EagleLayer:
    """A random layer whose guesses are often right: it hands the state on that it is given, changed a little."""
    fresh = EagleLayer.new(EagleShape.of(loaded.model.config), seed=2)
    source = torch.Generator().manual_seed(3)
    weights = {name: t + 0.05 * torch.randn(t.shape, generator=source) for name, t in fresh.weights.items()}
    return replace(fresh, weights=weights, accuracy=tuple(map(tuple, unknown(depth, ranks))))


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "sampled"])
@pytest.mark.parametrize("always", [0, 5])
def test_drafts_change_no_token(family: Loaded, sampling: Sampling, always: int) -> None:
    plain = decode(family, sampling=sampling).tokens
    drafts: list[Drafter] = [
        early_exit(family, 2, always=always),
        early_exit(family, 1, always=always, ranks=3, deepest=3),
        DraftModel.of(family, model("gpt2", seed=4), always=always, ranks=2),
        Eagle.of(family, layer_for(family), always=always),
    ]
    for draft in drafts:
        assert decode(family, draft, sampling=sampling).tokens == plain
        assert decode(family, draft, sampling=sampling, prompts=PROMPTS[:2]).tokens == plain[:2]  # used again


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "sampled"])
def test_a_draft_beside_other_sources_changes_no_token(family: Loaded, sampling: Sampling) -> None:
    prompts = [[5, 6, 7, 8] * 4, [9, 10, 11], [4, 4, 4, 4, 4]]
    draft = Eagle.of(family, layer_for(family), always=6)
    both = Speculation([draft, PromptLookup()], draft.sizing)
    found = Loop(runner_of(family), 36, sampling, proposer=both).run(prompts)
    assert found.tokens == decode(family, sampling=sampling, prompts=prompts).tokens
    assert found.tokens_per_step > 1


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "sampled"])
@pytest.mark.parametrize("guesses", [1, 4])
def test_a_draft_equal_to_the_model_is_always_right(family: Loaded, guesses: int, sampling: Sampling) -> None:
    """Drawn tokens too: a draft draws with the noise of the model's own choice."""
    steps, new = 7, 7 * (guesses + 1) + 1  # the first token is the prefill's
    for draft in (DraftModel.of(family, family, always=guesses), early_exit(family, 3, always=guesses)):
        made = decode(family, draft, new, sampling=sampling)
        assert made.steps == (steps,) * len(PROMPTS)
        assert made.tokens_per_step == guesses + 1
        assert [row[0] for row in draft.rates[:guesses]] > [0.8] * guesses
        assert made.tokens == decode(family, max_new=new, sampling=sampling).tokens


def test_early_exit_is_a_model_of_fewer_layers(family: Loaded) -> None:
    """Against a module made with that many layers and given the same weights."""
    short = {"n_layer": 2} if family.folder.name == "gpt2" else {"num_hidden_layers": 2}
    other = model(family.folder.name, seed=7, **short).model
    state = family.model.state_dict()
    other.load_state_dict({name: state[name] for name in other.state_dict()})
    draft, ids = early_exit(family, 2), torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12, 13, 14]])
    assert len(draft.runner.layers) == 2
    with torch.inference_mode():
        before = runner_of(family).logits(runner_of(family).forward(ids, KVCache(3, 1)))
        found = draft.runner.logits(draft.runner.forward(ids, KVCache(2, 1)))
        torch.testing.assert_close(found, other(input_ids=ids, use_cache=False).logits, rtol=1e-4, atol=1e-4)
        again = runner_of(family).logits(runner_of(family).forward(ids, KVCache(3, 1)))
    assert torch.equal(before, again)  # the model itself still has all layers


def test_early_exit_copies_no_weight(family: Loaded) -> None:
    whole, first = runner_of(family), early_exit(family, 1).runner
    if hasattr(first, "model"):
        theirs = {parameter.data_ptr() for parameter in whole.model.parameters()}  # type: ignore[attr-defined]
        assert {parameter.data_ptr() for parameter in first.model.parameters()} < theirs
    else:
        assert first.layers[0] is whole.layers[0]  # type: ignore[index]
        assert first.head is whole.head  # type: ignore[attr-defined]


class Checked(DraftModel):
    """Compares what the draft says with a pass over the whole text without a cache."""

    checked = 0

    def start(self, texts: Sequence[Text]) -> Tensor:
        found = DraftModel.start(self, texts)
        for row, text in enumerate(texts):
            states = self.runner.forward(torch.tensor([text.tokens]), KVCache(len(self.runner.layers), 1))
            torch.testing.assert_close(found[row], self.runner.logits(states[0, -1]), rtol=1e-4, atol=1e-4)
            Checked.checked += 1
        return found


@pytest.mark.parametrize("chunk", [512, 4])
def test_the_draft_has_read_what_the_texts_are(family: Loaded, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With guesses that were wrong, texts that end at different times, and steps without guesses in between."""
    monkeypatch.setattr("dovetail.runtime.decoding.draft._CHUNK", chunk)
    plain = decode(family)
    exits = early_exit(family, 2, always=3, ranks=2)
    draft = Checked(sizing=exits.sizing, rates=exits.rates, runner=exits.runner, context=128)
    pauses = iter([False, False, True, True, True, True, True, True, True, True] * 20)
    monkeypatch.setattr(Sizing, "resting", lambda self, batch: next(pauses))
    Checked.checked = 0
    ended = (plain.tokens[0][:9], plain.tokens[2][:14])
    made = decode(family, draft, ended=lambda tokens: tuple(tokens) in ended)
    assert Checked.checked >= 6
    assert made.tokens == tuple(until(tokens, ended) for tokens in plain.tokens)


def until(tokens: tuple[int, ...], ended: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """A text that ends where it is one of `ended`."""
    return min((end for end in ended if tokens[: len(end)] == end), key=len, default=tokens)


class Watched(Eagle):
    """Compares the layer's cached guess with a full causal pass over all pairs, written out here."""

    checked = 0
    truth: Loaded

    def start(self, texts: Sequence[Text]) -> Tensor:
        found = Eagle.start(self, texts)
        for row, text in enumerate(texts):
            ids = torch.tensor([text.tokens])
            hidden = Watched.truth.model.base_model(ids, use_cache=False).last_hidden_state[0, :-1]
            expected = from_scratch(self.layer, hidden, self.embedding[ids[0, 1:]])[-1]
            torch.testing.assert_close(self._state[row], expected, rtol=1e-3, atol=1e-3)
            assert self._rows.cache.lengths[row] == len(text.tokens) - 1
            Watched.checked += 1
        return found


def from_scratch(layer: EagleLayer, hidden: Tensor, newest: Tensor) -> Tensor:
    """One decoder layer over [h, e], head by head, with rotary angles as complex numbers."""
    w, shape, tokens = layer.weights, layer.shape, len(hidden)

    def norm(x: Tensor, weight: Tensor | float = 1.0) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight

    def turn(x: Tensor) -> Tensor:
        half = shape.head_dim // 2
        speeds = 10000.0 ** (-torch.arange(half) * 2 / shape.head_dim)
        angles = torch.outer(torch.arange(tokens).float(), speeds)
        product = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat((product.real, product.imag), -1)

    x = torch.cat((hidden, norm(newest)), -1) @ w["enter.weight"].T
    mixed = (norm(x, w["norm_in.weight"]) @ w["qkv.weight"].T).view(tokens, -1, shape.head_dim)
    later, found = torch.ones(tokens, tokens).triu(1).bool(), []
    for head in range(shape.heads):
        shared = shape.heads + head // (shape.heads // shape.kv_heads)
        scores = turn(mixed[:, head]) @ turn(mixed[:, shared]).T / shape.head_dim**0.5
        found.append(scores.masked_fill(later, float("-inf")).softmax(-1) @ mixed[:, shared + shape.kv_heads])
    x = x + torch.cat(found, -1) @ w["out.weight"].T
    gate, up = (norm(x, w["norm_post.weight"]) @ w["gate_up.weight"].T).chunk(2, -1)
    return x + (functional.silu(gate) * up) @ w["down.weight"].T


@pytest.mark.parametrize("chunk", [512, 3])
def test_the_layers_cache_is_what_a_pass_from_scratch_gives(
    family: Loaded, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dovetail.runtime.decoding.eagle._CHUNK", chunk)
    plain, made = decode(family), Eagle.of(family, layer_for(family), always=4)
    watched = Watched(
        sizing=made.sizing, rates=made.rates, layer=made.layer, runner=made.runner, embedding=made.embedding
    )
    Watched.truth, Watched.checked = family, 0
    pauses = iter([False, False, True, False, True, True, True] * 20)
    monkeypatch.setattr(Sizing, "resting", lambda self, batch: next(pauses))
    ended = plain.tokens[2][:9]
    found = decode(family, watched, ended=lambda tokens: tuple(tokens) == ended)
    assert Watched.checked >= 20
    assert found.tokens == tuple(until(tokens, [ended]) for tokens in plain.tokens)


def test_a_layer_that_knows_the_model_is_always_right() -> None:
    """Without attention the next hidden state follows from the newest token alone: the layer can know it."""
    loaded = model("llama", num_hidden_layers=1, tie_word_embeddings=False)
    [block] = loaded.model.model.layers
    torch.nn.init.zeros_(block.self_attn.o_proj.weight)
    torch.nn.init.ones_(loaded.model.model.norm.weight)
    with torch.no_grad():  # embeddings of one length, so that norms of the layer and of the model agree
        table = loaded.model.model.embed_tokens.weight
        table.copy_(functional.rms_norm(table, [64]))
        torch.nn.init.zeros_(block.mlp.down_proj.weight)
    fresh = EagleLayer.new(EagleShape.of(loaded.model.config))
    weights = {**fresh.weights, "enter.weight": torch.eye(128)[64:]}  # the state after a token is its embedding
    draft = Eagle.of(loaded, replace(fresh, weights=weights, accuracy=((0.9,),) * 4), always=4)
    made = decode(loaded, draft, 31)
    assert made.tokens == decode(loaded, max_new=31).tokens
    assert made.tokens_per_step == 5


def test_guesses_end_with_the_drafts_context(llama: Loaded) -> None:
    """Learned positions have no place beyond it; the model itself goes on."""
    draft = DraftModel.of(llama, model("gpt2", seed=4, n_positions=96), always=4)
    prompts = ([5, 6, 7] * 9, [4] * 40, [8, 9])
    made = decode(llama, draft, 80, prompts=prompts)
    assert made.tokens == decode(llama, max_new=80, prompts=prompts).tokens
    most = early_exit(llama, 3, always=9)
    assert decode(llama, most, 128 - 27, prompts=prompts[:1]).tokens_per_step > 5


def test_chains_with_leaves() -> None:
    rates = [[0.6, 0.3], [0.5, 0.2], [0.9, 0.05]]
    assert [(round(chance, 3), *place) for chance, *place in worth(rates)] == [
        (0.6, 0, 0), (0.3, 0, 1), (0.3, 1, 0), (0.27, 2, 0), (0.12, 1, 1), (0.015, 2, 1),
    ]  # fmt: skip
    assert caterpillar(worth(rates)) == Tree((-1, 0, 0, 1, 3, 1, 3))
    assert caterpillar(worth([[1.0, 0.0]] * 3)) == Tree((-1, 0, 1, 2, 0, 1, 2))
    assert caterpillar(worth([[0.0, 0.0]] * 3)).depths == [0, 1, 1, 2, 2, 3, 3]
    assert caterpillar(worth([[0.5]] * 4)) == Tree.chain(4)


def test_reading_a_prompt_is_set_aside(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first step would say for long that guesses do not pay."""
    told: list[float] = []
    monkeypatch.setattr(Sizing, "learn", lambda self, batch, kept, seconds, *_: told.append(seconds))
    for draft in (early_exit(llama, 1, always=2), Eagle.of(llama, layer_for(llama), always=2)):
        told.clear()
        draft.sizing.aside_s = 5.0
        draft.sizing.learn(1, [1], 7.0)
        assert (told, draft.sizing.aside_s) == ([2.0], 0.0)
        [text] = [Text(0, list(range(3, 40)), 37, Chooser(Sampling(), 0), torch.empty(0))]
        draft.observe(text, torch.randn(36, 64))
        with torch.inference_mode():
            draft.guess([text])
        assert draft.sizing.aside_s > 0
        text.tokens += [5]
        draft.sizing.aside_s = 0.0
        draft.observe(text, torch.randn(1, 64))
        with torch.inference_mode():
            draft.guess([text])
        assert draft.sizing.aside_s == 0


class Fixed(Drafter):
    """Guesses the same in every step: 3, 4, 5, … with 13, 14, 15, … beside them."""

    def start(self, texts: Sequence[Text]) -> Tensor:
        return self.after(torch.full((len(texts),), 2))

    def go_on(self, tokens: Tensor) -> Tensor:
        return self.after(tokens)

    @staticmethod
    def after(tokens: Tensor) -> Tensor:
        return torch.stack([torch.eye(96)[t + 1] * 9 + torch.eye(96)[t + 11] * 8 for t in tokens.tolist()])


def test_what_was_right_is_counted_place_by_place() -> None:
    draft = Fixed(sizing=DraftSizing(PassTime(1.0, 0.0), always=6), rates=[[0.5, 0.5] for _ in range(3)])
    text = Text(0, [9, 9], 2, Chooser(Sampling(), 0), torch.empty(0))
    [found] = draft.guess([text])
    assert sorted(found.tokens) == [3, 4, 5, 13, 14, 15]
    assert found.chances == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    text.tokens += [3, 14]  # the chain once, then a leaf
    for _ in range(2):  # the second time without guesses
        draft.learn([text])
        text.tokens.append(5)
    assert [[round(x, 4) for x in row] for row in draft.rates] == [[0.515, 0.485], [0.485, 0.515], [0.5, 0.5]]


def test_time_of_the_drafts_passes_is_part_of_a_step() -> None:
    time = DraftedPass.by(PassTime(2.0, 0.1), PassTime(0.5, 0.01), 3)
    assert time.seconds(4, 0) == pytest.approx(2.4)
    assert time.seconds(4, 2) == pytest.approx(2.0 + 0.1 * 4 * 3 + 2 * 0.54)
    assert time.seconds(1, 8) == pytest.approx(2.0 + 0.1 * 9 + 3 * 0.51)
    slow, fast = (DraftedPass.by(PassTime(1.0, 0.0), PassTime(cost, 0.0), 4) for cost in (0.9, 0.01))
    assert Sizing(slow).width([0.7, 0.49, 0.343, 0.24], 1) == 0
    assert Sizing(fast).width([0.7, 0.49, 0.343, 0.24], 1) == 4


def test_a_draft_that_never_pays_is_left_alone(llama: Loaded) -> None:
    draft = early_exit(llama, 3)
    draft.sizing.time = DraftedPass.by(PassTime(1.0, 0.0), PassTime(9.0, 0.0), 8)
    made = decode(llama, draft)
    assert made.tokens_per_step == 1
    assert not draft._rows.texts  # not even a prompt was read


def test_time_that_steps_do_not_take_is_set_aside() -> None:
    sizing = DraftSizing(PassTime(1.0, 0.0))
    for seconds, aside in ((1.0, 0.0), (1.4, 0.4), (9.0, 8.0), (1.0, 1.2)):  # the last says nothing of a step
        sizing.width([], 1)
        sizing.aside_s = aside
        sizing.learn(1, [1], seconds)
        assert sizing.aside_s == 0
        assert sizing.seconds(1, 0) == pytest.approx(1.0)


class Knows(Source):
    """What the second text becomes."""

    def __init__(self, made: Sequence[int]) -> None:
        self.made = made

    def guess(self, texts: Sequence[Text]) -> list[Guess]:
        return [self._after(text) if text.index == 1 else Guess() for text in texts]

    def _after(self, text: Text) -> Guess:
        rest = self.made[len(text.made) :][:6]
        return Guess(Tree.chain(len(rest)), rest, [0.99**at for at in range(1, len(rest) + 1)])


def test_a_draft_reads_unequal_texts_up_to_its_context() -> None:
    """Learned positions end with the context; rows with little to read are filled up to those with more."""
    base, draft = model("gpt2"), model("gpt2", seed=2, n_positions=40)
    proposer = DraftModel.of(base, draft, always=6)
    prompts = [[5] * 35, [6] * 4]
    plain = Loop(runner_of(base), 30, Sampling()).run(prompts)
    both = Speculation([proposer, Knows(plain.tokens[1])], proposer.sizing)
    found = Loop(runner_of(base), 30, Sampling(), proposer=both).run(prompts)
    assert found.tokens == plain.tokens
    assert found.steps[1] < 8


def test_drafts_of_another_vocabulary(llama: Loaded) -> None:
    with pytest.raises(DovetailError, match="another vocabulary"):
        DraftModel.of(llama, model("llama", vocab_size=97))
    mine, other = (SimpleNamespace(get_vocab=lambda v=v: v) for v in ({"a": 0, "b": 1}, {"a": 0, "c": 1}))
    base = replace(llama, tokenizer=mine)
    assert DraftModel.of(base, replace(llama, tokenizer=mine))
    with pytest.raises(DovetailError, match="another tokenizer") as caught:
        DraftModel.of(base, replace(llama, tokenizer=other))
    assert "token 1" in str(caught.value)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "sampled"])
@pytest.mark.parametrize("rows", [64, 96, 128])
def test_a_draft_may_have_other_rows_of_the_same_tokens(rows: int, sampling: Sampling) -> None:
    """Fewer and more: the model itself with other padding is always right, and its noise stays that of the tokens."""
    tokenizer = SimpleNamespace(get_vocab=lambda: {str(token): token for token in range(61)})
    base, small = (replace(model("llama", vocab_size=size), tokenizer=tokenizer) for size in (96, rows))
    state = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name][61:] = -0.05 * state[name][:61].sum(0)  # rows of padding
        state[name] = functional.pad(state[name], (0, 0, 0, max(0, rows - 96)))[:rows]
        base.model.state_dict()[name][61:] = -0.05 * base.model.state_dict()[name][:61].sum(0)
    with torch.no_grad():
        base.model.lm_head.weight[61:] = 0
        state["lm_head.weight"][61:] = 0
    small.model.load_state_dict(state)
    few = Sampling(sampling.temperature, top_k=min(sampling.top_k, 8), seed=sampling.seed)
    draft = DraftModel.of(base, small, always=4)
    made, plain = decode(base, draft, sampling=few), decode(base, sampling=few)
    assert made.tokens == plain.tokens
    assert max(token for text in plain.tokens for token in text) < 61
    assert made.tokens_per_step > 4.5


def test_a_token_that_a_draft_has_no_row_for_is_read(llama: Loaded) -> None:
    tokenizer = SimpleNamespace(get_vocab=lambda: {"a": 0})
    base, small = replace(llama, tokenizer=tokenizer), replace(model("gpt2", vocab_size=64), tokenizer=tokenizer)
    prompts = [[5, 95, 7], [80, 63, 64]]
    made = decode(base, DraftModel.of(base, small, always=4), prompts=prompts)
    assert made.tokens == decode(base, prompts=prompts).tokens
    with pytest.raises(DovetailError, match="another vocabulary"):  # a token of both that one has no row for
        DraftModel.of(*(replace(one, tokenizer=SimpleNamespace(get_vocab=lambda: {"a": 70})) for one in (base, small)))


@pytest.mark.parametrize("layers", [0, -1, 4])
def test_exits_that_are_none(llama: Loaded, layers: int) -> None:
    with pytest.raises(DovetailError, match="of 3 layers"):
        early_exit(llama, layers)


@pytest.mark.parametrize("sizes", [(0, 1), (4, 0), (4, 9)])
def test_drafts_of_nothing(llama: Loaded, sizes: tuple[int, int]) -> None:
    with pytest.raises(DovetailError, match="a draft of"):
        early_exit(llama, 1, deepest=sizes[0], ranks=sizes[1])


def test_a_layer_is_stored_for_its_model_alone(tiny: Loaded, tmp_path: Path) -> None:
    layer = layer_for(tiny)
    folder = layer.stored(Checkpoint.open(tiny.folder).sha256(), steps=3).save(tmp_path / "eagle", "a card\n")
    stored = Speculator.open(folder)
    found = EagleLayer.of(stored, tiny)
    assert (found.shape, found.accuracy) == (layer.shape, layer.accuracy)
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in layer.weights.items())
    assert stored.about["steps"] == 3
    prompts = [[5, 6, 7], [8, 9]]
    plain = decode(tiny, None, 20, prompts=prompts)
    assert decode(tiny, Eagle.of(tiny, found, always=3), 20, prompts=prompts).tokens == plain.tokens
    wrong = {name: tensor[:1] for name, tensor in stored.tensors.items()}
    for broken, match in [
        (replace(stored, kind="medusa"), "kind 'medusa'"), (replace(stored, base="0" * 64), "another model"),
        (replace(stored, tensors=wrong), "no draft layer"), (replace(stored, about={"accuracy": []}), "no draft layer"),
        (replace(stored, about={**stored.about, "shape": {"heads": 1}}), "no draft layer"),
        (replace(stored, about={**stored.about, "accuracy": [[0.5, 0.1], [0.5]]}), "unequal ranks"),
    ]:  # fmt: skip
        with pytest.raises(DovetailError, match=match) as caught:
            EagleLayer.of(broken, tiny)
        assert caught.value.where == str(folder)  # the layer is at fault, not the model
    with pytest.raises(DovetailError, match="not tried"):
        Eagle.of(tiny, replace(layer, accuracy=()))


@pytest.mark.parametrize("change", [{"heads": 3}, {"head_dim": 15}, {"hidden": 0}, {"theta": 0.0}])
def test_layers_of_no_shape(change: dict[str, Any]) -> None:
    with pytest.raises(DovetailError, match="no layer has the shape"):
        replace(EagleShape(64, 4, 2, 16, 128), **change)
