"""Language models, blocks and oddities as people write them by hand, for what reads modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VOCABULARY, WIDTH, HEADS, POSITIONS = 48, 32, 4, 64


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(),
            nn.Linear(64, WIDTH),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Block(nn.Module):
    """GPT's: one projection for queries, keys and values; fused or written-out attention."""

    def __init__(self, eager: bool = False) -> None:
        super().__init__()
        self.eager = eager
        self.norm_in, self.norm_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.register_buffer("past", torch.ones(POSITIONS, POSITIONS).tril())

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not self.eager:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        tokens = q.shape[-2]
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        scores = scores.masked_fill(self.past[:tokens, :tokens] == 0, float("-inf"))
        return F.dropout(F.softmax(scores, dim=-1), 0.1, self.training) @ v

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        parts = self.qkv(self.norm_in(x)).split(WIDTH, dim=2)
        q, k, v = (p.view(batch, tokens, HEADS, -1).transpose(1, 2) for p in parts)
        x = x + self.out(self.attend(q, k, v).transpose(1, 2).reshape(batch, tokens, WIDTH))
        return x + self.down(F.gelu(self.up(self.norm_post(x))))


class Gpt(nn.Module):
    """Learned positions, tied head."""

    def __init__(self, eager: bool = False) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.blocks = nn.ModuleList(Block(eager) for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class SharedBlocks(Gpt):
    """Its first two layers are one."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks[1] = self.blocks[0]


class LastLogits(Gpt):
    """Logits for the last token only."""

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, -1])


class RootNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale


class GroupedBlock(nn.Module):
    """Llama's: rotary, two KV heads for four query heads, gated feed-forward."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.channels, narrow = how, WIDTH // HEADS, WIDTH // 2
        self.norm_in, self.norm_post = RootNorm(), nn.RMSNorm(WIDTH)
        self.q, self.o = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.k, self.v = nn.Linear(WIDTH, narrow, bias=False), nn.Linear(WIDTH, narrow, bias=False)
        self.gate, self.up = nn.Linear(WIDTH, 40, bias=False), nn.Linear(WIDTH, 40, bias=False)
        self.down = nn.Linear(40, WIDTH, bias=False)

    def turned(self, x: Tensor) -> Tensor:
        speeds = 1e4 ** (-torch.arange(0, self.channels, 2) / self.channels)
        angles = torch.outer(torch.arange(x.shape[-2]), speeds)
        a, b = x[..., ::2], x[..., 1::2]
        return torch.stack((a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()), -1).flatten(-2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.how == "grouped":
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        if self.how == "repeated":
            return F.scaled_dot_product_attention(
                q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), is_causal=True
            )
        batch, _, tokens, channels = q.shape
        scores = torch.einsum("bgrqd,bgkd->bgrqk", q.view(batch, 2, 2, tokens, channels), k)
        scores = scores + torch.full((tokens, tokens), float("-inf")).triu(1)
        return torch.einsum("...rqk,...kd->...rqd", scores.softmax(-1), v).reshape(q.shape)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        y = self.norm_in(x)
        q, k, v = (p(y).view(batch, tokens, -1, self.channels).transpose(1, 2) for p in (self.q, self.k, self.v))
        mixed = self.attend(self.turned(q), self.turned(k), v)
        x = x + self.o(mixed.transpose(1, 2).reshape(batch, tokens, WIDTH))
        y = self.norm_post(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(GroupedBlock(how) for _ in range(2))
        self.norm, self.head = RootNorm(), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class DenseExperts(nn.Module):
    """Every expert works on every token; one tensor holds them all."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, 3)
        self.up, self.down = nn.Parameter(torch.zeros(3, WIDTH, 24)), nn.Parameter(torch.zeros(3, 24, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.router(x).softmax(-1)
        inner = F.silu(torch.einsum("btd,edf->btef", x, self.up))
        return torch.einsum("bte,bted->btd", weights, torch.einsum("btef,efd->bted", inner, self.down))


class ChosenExperts(nn.Module):
    """Tokens are sorted by the data: how many each expert has is not known before."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, 2)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        chosen, y = self.router(x).argmax(-1), torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            where = torch.where(chosen == number)
            y[where] = expert(x[where])
        return y


class Convolution(nn.Module):
    """Causal, each channel by itself, then across channels."""

    def __init__(self, padding: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.taps = nn.Conv1d(WIDTH, WIDTH, 4, padding=padding, stride=stride, groups=WIDTH)
        self.across = nn.Conv1d(WIDTH, 24, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.across(F.silu(self.taps(x.transpose(1, 2))))


class TorchAttention(nn.Module):
    """torch's own module."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return x + self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]


class LinearAttention(nn.Module):
    """Tokens meet in a product that is no attention."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.q(x) @ (self.k(x).softmax(-2).transpose(1, 2) @ x)


class Parameters(nn.Module):
    """Matrices without a linear layer: transposed, in slices, unused, and a scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.tall, self.both = nn.Parameter(torch.zeros(40, WIDTH)), nn.Parameter(torch.zeros(2 * WIDTH, 40))
        self.scale, self.unused = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.zeros(7, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.tall.T
        return self.scale * (F.linear(y, self.both[:WIDTH]) + torch.matmul(y, self.both[WIDTH:].t()))


class Masked(nn.Module):
    """Attention of one head under a mask of one's own; `kind` says which."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.table = kind, nn.Embedding(VOCABULARY, WIDTH)

    def mask(self, ids: Tensor) -> Tensor:
        at = torch.arange(ids.shape[1])
        apart = at[:, None] - at[None]
        if self.kind == "window":
            return (apart >= 0) & (apart < 5)
        if self.kind == "bias":  # ALiBi: farther is less, and what comes after is out
            return torch.where(apart < 0, float("-inf"), -0.5 * apart)
        if self.kind == "prefix":
            return (apart >= 0) | (at[None] < 3)
        if self.kind == "padding":
            return (ids != 0)[:, None, :].expand(-1, ids.shape[1], -1)
        return torch.ones_like(apart, dtype=torch.bool)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        return F.scaled_dot_product_attention(x, x, x, attn_mask=self.mask(ids))


class SharedCache(nn.Module):
    """Two attentions over the same keys and values; far positions weigh less, by a table as long as the context."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.kv = nn.Linear(WIDTH, 2 * WIDTH)
        self.register_buffer("slopes", torch.linspace(-1, 0, POSITIONS)[None])

    def forward(self, x: Tensor) -> Tensor:
        k, v = self.kv(x).chunk(2, -1)
        tokens = x.shape[1]
        bias = self.slopes[:, -tokens:] + torch.full((tokens, tokens), -1e9).triu(1)
        for queries in (self.first, self.second):
            x = x + torch.softmax(torch.baddbmm(bias[None], queries(x), k.mT), -1) @ v
        return x


class Fourier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixer = nn.ModuleDict({"out": nn.Linear(WIDTH, WIDTH)})

    def forward(self, x: Tensor) -> Tensor:
        return self.mixer["out"](torch.fft.fft(x, dim=1).real)


class Recurrent(nn.Module):
    """A loop over tokens: only ever traced for one length."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        states = [x[:, 0]]
        for token in range(1, x.shape[1]):
            states.append(self.step(states[-1]) + x[:, token])
        return torch.stack(states, 1)


class Branching(nn.Module):
    """Does another thing beyond 20 of a dimension."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension, self.once = dimension, nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.once(self.once(x)) if x.shape[self.dimension] > 20 else self.once(x)


class Memory(nn.Module):
    """Attention over learned vectors, not over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.Parameter(torch.zeros(1, 5, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        memory = self.memory.expand(x.shape[0], -1, -1)
        return F.scaled_dot_product_attention(x, memory, memory)
