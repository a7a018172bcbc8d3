"""Models: Hugging Face config → `Architecture` → operator `Graph`, and the zoo."""

from dovetail.model.model import Model

__all__ = ["Model"]
