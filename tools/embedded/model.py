"""The training twin of `LlamaForCausalLM`: same parameter names, fewer and wider matrix products.

Shapes: B sequences, T tokens, D hidden channels, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.embedded.config import Shape


def rope_tables(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine `(length, head_dim)` of rotary positions (arXiv 2104.09864), halves not interleaved."""
    exponent = torch.arange(0, shape.head_dim, 2) / shape.head_dim
    angle = torch.outer(torch.arange(length), shape.rope_theta**-exponent)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the channel pairs of `x` `(B, heads, T, head_dim)` by their position."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], dim=-1) * sin


class Attention(nn.Module):
    """Causal grouped-query attention (arXiv 2305.13245)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        self.widths = [heads * shape.head_dim for heads in (shape.heads, shape.kv_heads, shape.kv_heads)]
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(shape.hidden, width, bias=False) for width in self.widths)
        self.o_proj = nn.Linear(self.widths[0], shape.hidden, bias=False)

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        fused = torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])
        parts = F.linear(x_BTD, fused).split(self.widths, dim=-1)
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in parts)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Gated SiLU (arXiv 2002.05202)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.down_proj = nn.Linear(shape.intermediate, shape.hidden, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate, up = F.linear(x_BTD, torch.cat([self.gate_proj.weight, self.up_proj.weight])).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    """Attention and MLP, each behind an RMSNorm and beside a residual."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(shape), Mlp(shape)
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=shape.norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=shape.norm_eps)

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), cos, sin)
        return x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))


class Backbone(nn.Module):
    """Embedding, layers, final norm; the embedding is also the output head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=shape.norm_eps)
        cos, sin = rope_tables(shape, shape.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BTD, length = self.embed_tokens(ids_BT), ids_BT.shape[1]
        for layer in self.layers:
            x_BTD = layer(x_BTD, self.cos[:length], self.sin[:length])
        return self.norm(x_BTD)


class Llama(nn.Module):
    """The language model; `state_dict()` is what `LlamaForCausalLM` loads, the tied head aside."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.model = Backbone(shape)
        into_residual = ("o_proj.weight", "down_proj.weight")
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=0.02 / (2 * shape.layers) ** 0.5 if name.endswith(into_residual) else 0.02)

    def logits(self, ids_BT: Tensor) -> Tensor:
        """Return next-token logits `(B, T, V)`."""
        return F.linear(self.model(ids_BT), self.model.embed_tokens.weight)

    def forward(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Return the mean cross-entropy (nats per token) of `targets_BT`."""
        return F.cross_entropy(self.logits(ids_BT).flatten(0, 1), targets_BT.flatten())
