"""Whole models whose weights stay packed: the same logits as unpacked, in less memory; what cannot be is said."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.recipe.methods.rtn import RTN
from dovetail.runtime import load as loading
from dovetail.runtime.cache import attention
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.decode import generate
from dovetail.runtime.decoding import cache as cached
from dovetail.runtime.decoding import modules
from dovetail.runtime.decoding.cache import KVCache, View, seen
from dovetail.runtime.decoding.llama import LlamaRunner
from dovetail.runtime.decoding.modules import ModuleRunner, agrees
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.step import WholeStep
from dovetail.runtime.kernels.fused import GatedMLP, RMSNorm, fuse
from dovetail.runtime.kernels.library import Missing, find
from dovetail.runtime.kernels.linear import PackedLinear
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.perplexity import perplexity

needs_kernels = pytest.mark.skipif(isinstance(find(), Missing), reason="no kernels here")
IDS = torch.tensor([[1, 5, 9, 33, 70, 2, 95, 4, 4, 8]])


def packed(folder: Path, out: Path, bits: int, group: int, **more: Any) -> Path:
    return RTN(bits, group, **more).on_weights(Checkpoint.open(folder)).save(out)


@pytest.fixture(scope="module")
def w4(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tiny_folder, tmp_path_factory.mktemp("w4") / "m", 4, 32)


def logits(loaded: Loaded) -> torch.Tensor:
    return loaded.model(input_ids=IDS).logits.detach()


def off(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def saved(kind: str, out: Path, **more: Any) -> Path:
    """A small random model of another family, every parameter random."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, **more,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(out)
    return out


@needs_kernels
@pytest.mark.parametrize(("bits", "group"), [(2, 32), (3, 16), (4, 0), (5, 32), (8, 32)])
def test_exact_kernels_give_the_logits_of_unpacked_weights(
    tiny_folder: Path, tmp_path: Path, bits: int, group: int
) -> None:
    folder = packed(tiny_folder, tmp_path / "m", bits, group)
    found = load(folder, kernels="exact")
    assert found.arithmetic == "exact"
    assert off(logits(found), logits(load(folder))) < 1e-5
    assert off(logits(load(folder, kernels="int8")), logits(load(folder))) < 0.1  # a random model is no smooth one


@needs_kernels
@pytest.mark.parametrize(
    ("bits", "group", "more"),
    [
        (4, 32, {"symmetric": False}),
        (3, 0, {"symmetric": False}),
        (8, 0, {"act_bits": 8}),
        (8, 0, {"act_bits": 8, "symmetric": False}),
        (4, 32, {"act_bits": 8}),
        (4, 32, {"act_bits": 4}),
        (4, 32, {"layers": (("*.0.*.down_proj", 8), ("*.q_proj", 3))}),
    ],
    ids=str,
)
def test_what_the_checkpoint_says_of_zeros_inputs_and_layers_is_done(
    tiny_folder: Path, tmp_path: Path, bits: int, group: int, more: dict[str, Any]
) -> None:
    folder = packed(tiny_folder, tmp_path / "m", bits, group, **more)
    found, dense = load(folder, kernels="auto"), load(folder)
    assert found.arithmetic == "exact"
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for ours, theirs in zip(found.model.model.layers, dense.model.model.layers):
            assert isinstance(ours.self_attn.q_proj, PackedLinear)
            for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                assert off(getattr(ours.self_attn, name)(x), getattr(theirs.self_attn, name)(x)) < 1e-5
            # between its products an input may be rounded the other way, a step of 1/127 or 1/7
            assert off(ours.mlp(x), theirs.mlp(x)) < (0.1 if "act_bits" in more else 1e-5)
    if "act_bits" not in more:  # else a rounding that differs once goes through all that follows
        assert off(logits(found), logits(dense)) < 1e-5
    assert off(logits(found), logits(load(tiny_folder))) > 1e-3


@needs_kernels
def test_nothing_dense_is_kept(w4: Path) -> None:
    model = load(w4, kernels="auto").model
    layers = [m for m in model.modules() if isinstance(m, PackedLinear)]
    assert len(layers) == 2 * 6  # gate and up are one
    assert [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)] == ["lm_head"]
    elements = sum(layer.in_features * layer.out_features for layer in layers)
    assert sum(layer.stored_bytes for layer in layers) <= (4 / 8 + 4 / 32) * elements
    assert not any(p.requires_grad or p.is_meta for p in (*model.parameters(), *model.buffers()))
    assert type(model).__name__ == "LlamaForCausalLM"
    assert "Hollow" not in str(type(model))


@needs_kernels
def test_packed_models_decode_as_unpacked_ones(w4: Path) -> None:
    dense, exact, auto = (generate(load(w4, kernels=k), [1, 7, 20], 12, stop=frozenset()) for k in
                          ("dense", "exact", "auto"))  # fmt: skip
    assert dense.tokens == exact.tokens == auto.tokens


@needs_kernels
def test_joined_products_round_their_inputs_as_each_does(tiny_folder: Path, tmp_path: Path) -> None:
    folder = packed(tiny_folder, tmp_path / "m", 4, 32, act_bits=4)
    model, dense = load(folder, kernels="exact").model, load(folder).model.model.layers[0].self_attn
    attention, joined = model.model.layers[0].self_attn, LlamaRunner(model).layers[0].qkv
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(2))
    assert PackedLinear.joined([attention.q_proj, attention.k_proj]) is None
    with torch.no_grad():
        assert off(joined(x), torch.cat([dense.q_proj(x), dense.k_proj(x), dense.v_proj(x)], -1)) < 1e-5


@needs_kernels
def test_joined_products_hold_nothing_twice(w4: Path) -> None:
    loaded, ids = load(w4, kernels="exact"), torch.randn(3, 64, generator=torch.Generator().manual_seed(4))
    attention = loaded.model.model.layers[0].self_attn
    parts = [attention.q_proj, attention.k_proj, attention.v_proj]
    before = [part(ids) for part in parts]
    runner = runner_of(loaded)
    assert isinstance(runner, LlamaRunner)
    whole = runner.layers[0].qkv
    assert isinstance(whole, PackedLinear)
    for name in ("_codes", "_scales"):
        places = {getattr(layer, name).untyped_storage().data_ptr() for layer in (whole, *parts)}
        assert len(places) == 1
    for part, wanted in zip(parts, before):
        assert torch.equal(part(ids), wanted)
        assert torch.equal(copy.deepcopy(part)(ids), wanted)
        assert torch.equal(pickle.loads(pickle.dumps(part))(ids), wanted)
    assert torch.equal(whole(ids), torch.cat(before, -1))


@needs_kernels
def test_norms_keep_their_epsilon(tmp_path: Path) -> None:
    """Embeddings so small that a wrong epsilon changes everything."""
    folder = packed(saved("Llama", tmp_path / "base", rms_norm_eps=1e-3), tmp_path / "m", 4, 32)
    found = load(folder, kernels="exact")
    with torch.no_grad():
        found.model.model.embed_tokens.weight.mul_(0.05)
    assert isinstance(found.model.model.norm, RMSNorm)
    runner = runner_of(found)
    assert isinstance(runner, LlamaRunner)
    assert runner.norm[1] == pytest.approx(1e-3)


@needs_kernels
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    ("kernels", "bits", "act"),
    [("dense", 4, 16), ("exact", 4, 16), ("int8", 4, 16), ("dense", 8, 8), ("exact", 8, 8), ("dense", 4, 4),
     ("exact", 4, 4)],
)  # fmt: skip
def test_every_arithmetic_decodes_and_a_wrong_mask_is_seen(
    stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    dtype: str, kernels: str, bits: int, act: int,
) -> None:  # fmt: skip
    folder = packed(stories, tmp_path / "m", bits, 0, act_bits=act)
    loaded = load(folder, dtype, kernels=kernels)
    assert isinstance(runner_of(loaded), LlamaRunner)
    whole = kernels == "dense" and act == 16 and dtype == "fp32"  # others: 172 rows are no whole tiles to be joined
    assert (WholeStep.of(LlamaRunner(loaded.model)) is not None) == whole
    for owner, name, wrong in _WRONG_STEPS if whole else ():
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, wrong)
            assert not agrees(LlamaRunner(loaded.model), loaded.model)
    monkeypatch.setattr(WholeStep, "of", lambda _: None)  # layer by layer, from here on
    for wrong in (_behind, _all_new) if dtype == "fp32" else ():
        monkeypatch.setattr(cached, "attended", wrong)
        assert not agrees(LlamaRunner(loaded.model), loaded.model)
    monkeypatch.setattr(attention, "MOST", 0)  # masks, from here on
    for wrong in (_stale, _future, _late):
        monkeypatch.setattr(cached, "seen", wrong)
        assert not agrees(LlamaRunner(loaded.model), loaded.model)
        monkeypatch.setattr(modules, "seen", wrong)
        assert not agrees(ModuleRunner(loaded.model), loaded.model)


def _laid_behind(cache: KVCache, *given: int) -> Any:
    """Tokens that were not kept are seen: eight behind the second sequence."""
    table = _LAID(cache, *given).copy()
    table[:, 1, :, attention.FIELDS.index("held")] += 8
    return table


def _all_seen(view: View, _: int | None) -> attention.Seen:
    """New tokens see those after them."""
    return attention.Seen(torch.ones(view.tokens, view.tokens, dtype=torch.uint8))


_LAID = KVCache.laid
_WRONG_STEPS = ((KVCache, "laid", _laid_behind), (View, "seen", _all_seen))


def _behind(table: Any, *given: Any) -> torch.Tensor:
    """Tokens that were not kept are seen: eight behind the second sequence."""
    table[1, :, attention.FIELDS.index("held")] += 8
    return attention.attended(table, *given)


def _all_new(table: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, _: Any) -> torch.Tensor:
    """New tokens see those after them."""
    every = torch.ones(queries.shape[2], queries.shape[2], dtype=torch.uint8)
    return attention.attended(table, queries, keys, values, attention.Seen(every))


def _stale(cache: KVCache, *given: Any) -> torch.Tensor | None:
    """Tokens that were not kept are seen."""
    mask = seen(cache, *given)
    if mask is not None and not cache.even:
        mask[..., : cache.longest] = True
    return mask


def _future(cache: KVCache, *given: Any) -> torch.Tensor | None:
    mask = seen(cache, *given)
    return None if mask is None else torch.ones_like(mask)


def _late(cache: KVCache, *given: Any) -> torch.Tensor | None:
    """One token more than there should be."""
    mask = seen(cache, *given)
    return None if mask is None else mask | mask.roll(1, -1)


@needs_kernels
def test_half_precision_keeps_the_dtype(w4: Path) -> None:
    found = load(w4, "bf16", kernels="exact")
    assert logits(found).dtype is torch.bfloat16
    assert off(logits(found).float(), logits(load(w4))) < 0.05


@needs_kernels
@pytest.mark.parametrize("kind", ["Qwen2", "Qwen3"])
def test_other_families_with_their_biases(kind: str, tmp_path: Path) -> None:
    more = {"head_dim": 16} if kind == "Qwen3" else {}
    folder = packed(saved(kind, tmp_path / "base", **more), tmp_path / "m", 4, 32)
    found = load(folder, kernels="exact")
    assert off(logits(found), logits(load(folder))) < 1e-5
    assert (found.model.model.layers[0].self_attn.q_proj._bias is not None) == (kind == "Qwen2")
    fused = [type(m) for m in found.model.modules() if isinstance(m, (GatedMLP, RMSNorm))]
    assert fused.count(GatedMLP) == 2
    assert fused.count(RMSNorm) == (9 if kind == "Qwen3" else 5)


@needs_kernels
def test_what_computes_something_else_is_not_fused(w4: Path) -> None:
    layer = load(w4, kernels="exact").model.model.layers[0]
    parts = load(w4).model.model.layers[0].mlp

    class Reversed(torch.nn.Module):
        """Looks like a gated feed-forward layer, and gates the other way round."""

        def __init__(self) -> None:
            super().__init__()
            steps = torch.ones(96, 64, dtype=torch.int8)
            self.gate_proj = PackedLinear(steps, torch.rand(96, 1), 4)
            self.up_proj = PackedLinear(steps, torch.rand(96, 1), 4)
            self.down_proj, self.act_fn = layer.mlp.down, parts.act_fn

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.down_proj(self.act_fn(self.up_proj(x)) * self.gate_proj(x))

    class OnePlusRMSNorm(torch.nn.Module):
        """A norm whose weight is beside one."""

        def __init__(self) -> None:
            super().__init__()
            self.weight, self.variance_epsilon = torch.nn.Parameter(torch.rand(64), requires_grad=False), 1e-6

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (1 + self.weight) * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)

    model = torch.nn.Sequential(Reversed(), OnePlusRMSNorm())
    fuse(model)
    assert [type(m) for m in model] == [Reversed, OnePlusRMSNorm]


@needs_kernels
def test_a_packed_head_is_close_and_leaves_the_embedding(w4: Path) -> None:
    exact, found = load(w4, kernels="exact"), load(w4, kernels="exact", head_bits=8)
    assert found.arithmetic == "exact + head"
    assert isinstance(found.model.lm_head, PackedLinear)
    table = found.model.model.embed_tokens.weight
    assert torch.equal(table, exact.model.model.embed_tokens.weight)
    assert 0 < off(logits(found), logits(exact)) < 0.01
    whole = load(w4, head_bits=8)
    assert whole.arithmetic == "dense + head"
    assert off(logits(whole), logits(found)) < 1e-5


def test_auto_is_dense_where_nothing_is_packed(tiny_folder: Path) -> None:
    assert load(tiny_folder, kernels="auto").arithmetic == "dense"


@needs_kernels
def test_a_mixture_that_fuses_its_experts_is_unpacked(tmp_path: Path) -> None:
    base = saved("Mixtral", tmp_path / "base", num_local_experts=4, num_experts_per_tok=2)
    folder = packed(base, tmp_path / "m", 4, 32)
    found = load(folder, kernels="auto")
    assert found.arithmetic == "dense"
    assert torch.equal(logits(found), logits(load(folder)))
    with pytest.raises(DovetailError, match="fuse matrices"):
        load(folder, kernels="exact")


def test_what_cannot_run_is_refused_with_the_reason(
    tiny_folder: Path, w4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DovetailError, match="not packed integers"):
        load(tiny_folder, kernels="int8")
    with pytest.raises(DovetailError, match="did you mean 'exact'"):
        load(w4, kernels="exakt")
    with pytest.raises(DovetailError, match="in fp64"):
        load(w4, "fp64", kernels="exact")
    with pytest.raises(DovetailError, match="head of 4 bits"):
        load(w4, head_bits=4)
    with pytest.raises(DovetailError, match="on a CPU, not on cuda"):
        load(w4, head_bits=8, device="cuda")
    monkeypatch.setattr(loading, "find", lambda: Missing("no C++ compiler is on the PATH", "apt install g++"))
    assert load(w4, kernels="auto").arithmetic == "dense"
    with pytest.raises(DovetailError, match=r"no C\+\+ compiler.*apt install g\+\+"):
        load(w4, kernels="exact")


@needs_kernels
@pytest.mark.parametrize("more", [{}, {"symmetric": False}, {"act_bits": 8}], ids=str)
def test_memory_is_forecast_as_it_is_taken(
    tiny_folder: Path, tmp_path: Path, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = packed(tiny_folder, tmp_path / "m", 8 if "act_bits" in more else 4, 32, **more)
    forecast = loading.packed_bytes(Checkpoint.open(folder), 4)
    model = load(folder, kernels="exact").model
    layers = [m for m in model.modules() if isinstance(m, PackedLinear)]
    held = sum(layer.stored_bytes for layer in layers) + 4 * sum(p.numel() for p in model.parameters())
    assert forecast == pytest.approx(held, rel=0.01)
    monkeypatch.setattr(loading, "available_memory", lambda: forecast)
    assert load(folder, kernels="exact").arithmetic == "exact"
    with pytest.raises(DovetailError, match="kernels='exact', which leaves weights packed"):
        load(folder)


@needs_kernels
def test_quality_says_with_which_arithmetic(stories: Path, tmp_path: Path) -> None:
    folder = packed(stories, tmp_path / "m", 8, 0)
    text = "Once upon a time there was a little girl who liked to play in the park with her dog."
    dense, exact, int8 = (perplexity(load(folder, kernels=k), text) for k in ("dense", "exact", "int8"))
    assert [q.arithmetic for q in (dense, exact, int8)] == ["dense", "exact", "int8"]
    assert exact.nats_per_token == pytest.approx(dense.nats_per_token, rel=1e-5)
    assert int8.nats_per_token == pytest.approx(dense.nats_per_token, rel=0.02)
