"""``quant_method: mxfp4``: gpt-oss, whose experts alone are stored in 4 bits."""

from __future__ import annotations

from dovetail.core.formats import MXFP4
from dovetail.model.config import Config
from dovetail.model.storage.names import Names
from dovetail.model.storage.rules import Rule, Storage


def mxfp4(found: Config, dtype: str) -> Storage:
    """The experts, but for ``modules_to_not_convert``; inputs are not quantised."""
    dense = Rule(None, names=Names.of(found, "modules_to_not_convert"))
    return Storage((dense, Rule(MXFP4, names=Names(("*.experts.*",)))))
