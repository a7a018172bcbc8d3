"""Built-in networks for digits, of at most 70,000 parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.lazy import require

if TYPE_CHECKING:
    from torch import Tensor, nn

NETS = ("mlp", "resnet")


def net(name: str, pixels: int = 28, seed: int = 0) -> nn.Module:
    """A network with random weights.

    ``mlp``: pixels² - 84 - 10 with one ReLU, no bias in arrays' way (biases are digital). ``resnet``: the 20 layers of
    ResNet-20 (He et al., arXiv 1512.03385) with 8, 16 and 32 channels, whose first convolution has stride 2.

    Raises
    ------
    DovetailError
        An unknown name.
    """
    torch = require("torch", "torch", to="train")
    if name not in NETS:
        raise DovetailError(f"unknown network '{name}'", where="net", hint=did_you_mean(name, list(NETS)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found: nn.Module = _mlp(pixels) if name == "mlp" else _resnet()
        return found


def _mlp(pixels: int) -> nn.Module:
    layers = require("torch", "torch", to="train").nn
    found: nn.Module = layers.Sequential(
        layers.Flatten(), layers.Linear(pixels * pixels, 84), layers.ReLU(), layers.Linear(84, 10)
    )
    return found


def _resnet() -> nn.Module:
    layers = require("torch", "torch", to="train").nn
    channels = [8] * 3 + [16] * 3 + [32] * 3
    blocks = [_block(before, after) for before, after in zip([8, *channels], channels)]
    stem = layers.Conv2d(1, 8, 3, stride=2, padding=1, bias=False)
    found: nn.Module = layers.Sequential(
        stem,
        layers.BatchNorm2d(8),
        layers.ReLU(),
        *blocks,
        layers.AdaptiveAvgPool2d(1),
        layers.Flatten(),
        layers.Linear(32, 10),
    )
    return found


def _block(before: int, after: int) -> nn.Module:
    """Two convolutions beside a shortcut that drops pixels and adds empty channels (option A of the paper)."""
    torch = require("torch", "torch", to="train")
    nn = torch.nn
    stride = 1 if before == after else 2

    class Block(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(after)
            self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
            self.last_norm = nn.BatchNorm2d(after)

        def forward(self, x: Tensor) -> Any:
            out = self.last_norm(self.second(torch.relu(self.norm(self.first(x)))))
            same = nn.functional.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, after - before))
            return torch.relu(out + same)

    return Block()
