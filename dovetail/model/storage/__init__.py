"""How a checkpoint stores its weights: read from its config, applied to a graph."""

from dovetail.model.storage.graph import as_stored
from dovetail.model.storage.read import storage_of
from dovetail.model.storage.rules import Rule, Storage

__all__ = ["Rule", "Storage", "as_stored", "storage_of"]
