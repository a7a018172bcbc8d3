"""A stand-in for decoder layers; imports torch, hence is imported late."""

from __future__ import annotations

from typing import Any

import torch

from dovetail.core.errors import INFEASIBLE, DovetailError


class Watch(torch.nn.Module):
    """Stands where a decoder layer was: remembers how it is called, and passes hidden states on."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.__dict__["layer"] = layer  # not a child: its weights are not here
        self.seen = torch.empty(0)
        self.call: dict[str, Any] = {}

    def forward(self, hidden_states: torch.Tensor, *more: object, **call: Any) -> torch.Tensor:
        """The hidden states as they came. Raises `DovetailError` for more that has no name."""
        if more:
            why, hint = "its layers are not called by name", "rtn or magnitude work on it"
            raise DovetailError("cannot be calibrated layer by layer", why=why, hint=hint, exit_code=INFEASIBLE)
        self.seen, self.call = hidden_states, call
        return hidden_states

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["layer"], name)  # models ask a layer of which kind it is
