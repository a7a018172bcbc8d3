"""Models read from torch modules: trace, operators with symbolic sizes, layers, and graphs of any step."""

from dovetail.model.traced.traced import Traced

__all__ = ["Traced"]
