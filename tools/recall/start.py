"""Where training starts: heads of the first layer that look a few tokens back.

To find a note by its key, the words before a value have to be known at its place. Heads that look one, two and three
tokens back do that in every trained model; here they are given, not waited for. What has to be learned is the rest: to
match, over thousands of tokens, both words of a key at once. Trials without these heads stayed at
matching one word.
"""

import torch
from torch import Tensor

from tools.embedded.model import Llama
from tools.recall.config import Shape

_NATS = 40.0  # score of the token looked at, over the channel pairs that turn fast
_PAIRS = 8  # channel pairs used: the fast ones part neighbours, the slower ones part far repetitions


@torch.no_grad()
def look_back(model: Llama, shape: Shape, offsets: tuple[tuple[int, ...], ...]) -> None:
    """Set heads of layer 0; `offsets[group]` are the tokens that the first heads of a key-value group look back.

    All embeddings get one channel in common. Queries and keys read it, so scores depend on the distance alone: with
    the query's channel pair `i` turned back by `offset * frequency_i`, the sum of cosines is largest at that distance.
    """
    base, layer = model.model, model.model.layers[0].self_attn
    base.embed_tokens.weight[:, 0] = base.embed_tokens.weight[:, 1:].norm(dim=1).mean()
    common = (shape.hidden / 2) ** 0.5  # of the normed state: half of its square
    frequencies = shape.rope_theta ** -(torch.arange(shape.head_dim // 2) * 2 / shape.head_dim)
    size = torch.zeros(shape.head_dim // 2)
    size[:_PAIRS] = (_NATS / _PAIRS * shape.head_dim**0.5) ** 0.5 / common
    per_group = shape.heads // shape.kv_heads
    for group, looks in enumerate(offsets):
        _set(layer.k_proj.weight, group, size, torch.zeros_like(size))
        for number, offset in enumerate(looks):
            _set(layer.q_proj.weight, group * per_group + number, size, -offset * frequencies)


def _set(weight: Tensor, head: int, size: Tensor, angle: Tensor) -> None:
    """Let a head read the common channel into its pairs, of a size and at an angle."""
    rows = slice(head * 2 * len(size), (head + 1) * 2 * len(size))
    weight[rows] *= 0.1
    weight[rows, 0] = torch.cat([size * angle.cos(), size * angle.sin()])
