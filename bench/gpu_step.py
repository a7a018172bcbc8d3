"""Steps of eight layers of Llama-3.1-8B in bf16, random weights, against `dovetail.estimate` on the same shapes.

A part of `bench/gpu.py`. Each step is a captured CUDA graph with static memory, so that no host is in it; the estimate
is taken without its millisecond for an engine's scheduling and sampling (`stack.step_s`), which nothing here has.

- plain torch: queries, keys and values in one product, gate and up in one, `F.rms_norm`, and torch's FlashAttention
  over exactly the tokens held; norms, rotary angles and activations are kernels of their own, not fused as in engines.
- transformers: its own module over a `StaticCache` of as many positions; a mask keeps it from the fast attention.

The profiler's kernel times are summed by kind, so that an error can be laid at a door: products, attention, the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

import dovetail
from dovetail.model import Model
from dovetail.workload import Workload

if TYPE_CHECKING:
    from gpu import Place

SOURCE, LAYERS, CONTEXT = "meta-llama/Llama-3.1-8B", 8, 2048
BATCHES = (1, 16, 64)
KINDS = ("products", "attention", "rest")
_PRODUCTS = ("gemm", "gemv", "nvjet", "cutlass", "splitk", "cublas")
_ATTENTION = ("flash", "fmha", "attention", "softmax", "cudnn_generated")


def shape(quick: bool) -> dict[str, Any]:
    fields = {**Model.load(SOURCE).config, "num_hidden_layers": 2 if quick else LAYERS}
    small = {"hidden_size": 256, "intermediate_size": 512, "vocab_size": 1024, "num_attention_heads": 8,
             "num_key_value_heads": 2, "head_dim": 32}  # fmt: skip
    return {**fields, **small} if quick else fields


@dataclass(frozen=True)
class Sizes:
    """Of a decoder of Llama's family."""

    hidden: int
    inner: int
    heads: int
    kv_heads: int
    channels: int
    vocabulary: int
    layers: int

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Sizes:
        channels = fields.get("head_dim") or fields["hidden_size"] // fields["num_attention_heads"]
        names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
        return cls(*(fields[name] for name in names), channels, fields["vocab_size"], fields["num_hidden_layers"])


class Plain:
    """A decoder of few torch operations over static keys and values.

    Parameters
    ----------
    held : int
        Tokens in the cache of each sequence once the new ones are written.
    """

    def __init__(self, sizes: Sizes, batch: int, tokens: int, held: int, device: str) -> None:
        self.sizes, self.batch, self.tokens, self.held = sizes, batch, tokens, held
        one = {"device": device, "dtype": torch.bfloat16}

        def matrix(rows: int, columns: int) -> Tensor:
            return torch.randn(rows, columns, **one).mul_(columns**-0.5)  # type: ignore[arg-type]

        s = sizes
        both = s.heads + 2 * s.kv_heads
        self.layers = [
            (matrix(both * s.channels, s.hidden), matrix(s.hidden, s.heads * s.channels), matrix(2 * s.inner, s.hidden),
             matrix(s.hidden, s.inner), torch.randn(2, batch, held, s.kv_heads, s.channels, **one))  # type: ignore[arg-type]
            for _ in range(s.layers)
        ]  # fmt: skip
        self.embedding, self.head = matrix(s.vocabulary, s.hidden), matrix(s.vocabulary, s.hidden)
        self.norm = torch.ones(s.hidden, **one)  # type: ignore[arg-type]
        self.ids = torch.randint(s.vocabulary, (batch, tokens), device=device)
        angles = torch.randn(held, s.channels, device=device)
        new = slice(held - tokens, held)
        self.cos, self.sin = (x[new].to(torch.bfloat16)[None, :, None] for x in (angles.cos(), angles.sin()))
        self.places = torch.arange(held - tokens, held, device=device)

    def __call__(self) -> Tensor:
        """Logits of the last token of each sequence."""
        s, x = self.sizes, self.embedding[self.ids]
        for qkv, out, pair, down, cache in self.layers:
            mixed = functional.linear(self._normed(x), qkv).view(self.batch, self.tokens, -1, s.channels)
            turned, values = mixed.split((s.heads + s.kv_heads, s.kv_heads), 2)
            turned = torch.addcmul(turned * self.cos, turned.roll(s.channels // 2, -1), self.sin)
            queries, keys = turned.split((s.heads, s.kv_heads), 2)
            for store, new in zip(cache, (keys, values), strict=True):
                store.index_copy_(1, self.places, new)
            x = x + functional.linear(self._attended(queries, cache).flatten(2), out)
            gate, up = functional.linear(self._normed(x), pair).chunk(2, -1)
            x = x + functional.linear(functional.silu(gate) * up, down)
        return functional.linear(self._normed(x[:, -1]), self.head)

    def _normed(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (self.sizes.hidden,), self.norm, 1e-5)

    def _attended(self, queries: Tensor, cache: Tensor) -> Tensor:
        asked, keys, values = (part.transpose(1, 2) for part in (queries, *cache))
        out = functional.scaled_dot_product_attention(
            asked, keys, values, is_causal=self.tokens > 1, enable_gqa=self.sizes.heads != self.sizes.kv_heads
        )
        return out.transpose(1, 2)


def by_transformers(fields: dict[str, Any], batch: int, held: int, device: str) -> Callable[[], object]:
    """One decode step of the library's own module; its cache is wound back by one token in each."""
    from transformers import LlamaConfig, LlamaForCausalLM, StaticCache

    config = LlamaConfig(
        **{k: v for k, v in fields.items() if k not in ("architectures", "model_type", "dtype", "torch_dtype")}
    )
    config._attn_implementation = "sdpa"
    with torch.device(device):
        model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    cache = StaticCache(config=config, max_cache_len=held)
    ids = torch.randint(config.vocab_size, (batch, 1), device=device)
    position = torch.full((batch, 1), held - 1, device=device)
    model(ids, past_key_values=cache, position_ids=position, use_cache=True)
    for layer in cache.layers:
        layer.keys.normal_()
        layer.values.normal_()

    def step() -> object:
        for layer in cache.layers:
            layer.cumulative_length.fill_(held - 1)
        return model(ids, past_key_values=cache, position_ids=position, use_cache=True).logits

    return step


def kinds(run: Callable[[], object]) -> dict[str, float]:
    """Seconds of kernels by kind, of one run."""
    from torch.profiler import ProfilerActivity, profile

    run()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        run()
        torch.cuda.synchronize()
    sums = dict.fromkeys(KINDS, 0.0)
    for event in found.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            name = event.name.lower()
            kind = "attention" if any(one in name for one in _ATTENTION) else "rest"
            kind = "products" if kind == "rest" and any(one in name for one in _PRODUCTS) else kind
            sums[kind] += event.device_time * 1e-6
    return sums


def predicted(operators: Any) -> dict[str, float]:
    """The same of an estimate."""
    sums = dict.fromkeys(KINDS, 0.0)
    for one in operators:
        kind = one.model.partition(".")[0]
        sums[{"gemm": "products", "attention": "attention"}.get(kind, "rest")] += float(one.time_s)
    return sums


def steps(place: Place) -> dict[str, Any]:
    """Every step, measured and predicted."""
    fields, found = shape(place.quick), {}
    model, context = Model.load(fields), 128 if place.quick else CONTEXT
    sizes = Sizes.of(fields)
    print(f"\nestimate: {sizes.layers} layers of {SOURCE}, bf16, {context:,} tokens seen, ms on {place.machine.name}\n")
    print(f"{'step':<20}{'predicted':>10}{'range':>16}{'plain torch':>13}{'error':>8}{'transformers':>14}{'error':>8}")
    for batch in BATCHES[:1] if place.quick else BATCHES:
        work = Workload(prompt=context - 1, output=2, batch=batch)
        estimate = dovetail.estimate(model, on=place.machine, workload=work)
        with torch.inference_mode():
            own = Plain(sizes, batch, 1, context, place.device)
            plain = place.seconds(own)
            parts = kinds(own) if place.cuda else {}
            del own
            theirs = place.seconds(by_transformers(fields, batch, context, place.device))
        name = f"decode, batch {batch}"
        found[name] = line(place, name, estimate, estimate.steps.decode, plain, parts, theirs)
    work = Workload(prompt=context, output=1, batch=1)
    estimate = dovetail.estimate(model, on=place.machine, workload=work)
    with torch.inference_mode():
        own = Plain(sizes, 1, context, context, place.device)
        plain, parts = place.seconds(own), kinds(own) if place.cuda else {}
    found["prefill"] = line(place, f"prefill, {context:,}", estimate, estimate.steps.prefill, plain, parts, None)
    return found


def line(
    place: Place, name: str, estimate: Any, cost: Any, plain: float, parts: dict[str, float], theirs: float | None
) -> dict[str, Any]:
    told = float(cost.time_s) - float(place.machine.stack.step_s)
    factor = estimate.trust.factor("tpot")
    both = f"{plain * 1e3:>13.3f}{told / plain - 1:>+8.1%}"
    both += f"{theirs * 1e3:>14.3f}{told / theirs - 1:>+8.1%}" if theirs else ""
    print(f"{name:<20}{told * 1e3:>10.3f}{f'{told / factor * 1e3:.3f} – {told * factor * 1e3:.3f}':>16}{both}")
    guesses = predicted(cost.operators)
    if parts:
        told_parts = "; ".join(f"{kind} {guesses[kind] * 1e3:.3f} / {parts[kind] * 1e3:.3f}" for kind in KINDS)
        print(f"    kernels, predicted / plain torch: {told_parts}", flush=True)
    return {"predicted_s": told, "factor": factor, "plain_s": plain, "transformers_s": theirs, "kernels": parts,
            "predicted_kernels": guesses}  # fmt: skip
