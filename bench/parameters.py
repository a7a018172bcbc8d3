"""Parameter counts against the `transformers` module on the meta device: the zoo's models and public configs at hand.

    python bench/parameters.py

Public configs are read from ``$DOVETAIL_DATA/configs`` (or ``../shared/data``); those that are refused are listed by
name with the reason, and so are those of types that `transformers` does not know, which totals in tests/ hold.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.model import Model
from dovetail.model.config import read_fields
from dovetail.model.find import SHIPPED, zoo

SAME = {  # the type that transformers knows it by
    "kimi_k2": "deepseek_v3",
    "deepseek_ref": "deepseek_v4",
    "mimo": "qwen2",
    "minimax_m3": "minimax_m3_vl_text",
}


def counted(config: dict[str, Any]) -> int | None:
    """``sum(p.numel())`` of the module that `transformers` builds; None where it does not know the type.

    Of a config that describes no tower the language model alone is built, whatever ``architectures`` says:
    `transformers` would fill in a tower of its default size.
    """
    import torch

    transformers = require("transformers", "torch")
    kind = SAME.get(config["model_type"], config["model_type"])
    if kind not in transformers.CONFIG_MAPPING:
        return None
    fields = {k: v for k, v in config.items() if k not in ("model_type", "quantization_config", "auto_map")}
    flat = kind == "step3p7" and "text_config" not in config
    built = transformers.AutoConfig.for_model(kind, **({"text_config": fields} if flat else fields))
    images = "vision_config" in config or flat
    named = getattr(transformers, str((config.get("architectures") or [""])[0]), None)
    auto = transformers.AutoModelForImageTextToText if images else transformers.AutoModelForCausalLM
    exact = named is not None and ("text_config" not in config or images)
    with torch.device("meta"):
        module = named(built) if exact else auto.from_config(built)
    parts = (module.model.language_model, module.lm_head) if flat else (module,)
    return sum(p.numel() for part in parts for p in part.parameters())


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and config of the zoo's models, then of the public files."""
    for name in Model.names():
        file = SHIPPED[name] / "config.json" if name in SHIPPED else zoo()[name]
        yield name, read_fields(file)
    data = Path(os.environ.get("DOVETAIL_DATA", Path(__file__).parents[1] / "../shared/data"))
    for path in sorted((data / "configs" / "aiconfigurator_hf").glob("*.json")):
        yield path.name, json.loads(path.read_text())


def main() -> None:
    """Print one line for each wrong or unknown model, and the totals."""
    logging.disable(logging.WARNING)
    right, wrong, unknown, alone = 0, [], [], []
    for name, config in cases():
        try:
            ours = Model.load(config).parameters
        except DovetailError as error:
            unknown.append(f"{name}: {error.what}, {error.why.partition(';')[0]}")
            continue
        theirs = counted(config)
        if theirs is None:
            alone.append(f"{name}: {ours:,}, {config['model_type']} is not in transformers")
            continue
        right += ours == theirs
        if ours != theirs:
            wrong.append(f"{name}: {ours:,} here, {theirs:,} in transformers")
    print("\n".join(f"unknown  {line}" for line in unknown))
    print("\n".join(f"WRONG    {line}" for line in wrong))
    print("\n".join(f"alone    {line}" for line in alone))
    refused = f"{len(unknown)} refused by name, {len(alone)} described without a module to compare with"
    print(f"parameter counts: {right} equal, {len(wrong)} wrong, {refused}")


if __name__ == "__main__":
    main()
