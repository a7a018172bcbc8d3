"""Where a model's config is: the zoo, a path, or the local Hugging Face cache; never the network."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.model.config import config_file, read_fields

ROOM = Path(__file__).parent
ZOO = ROOM / "zoo"  # zoo/<organisation>/<model>.yaml: the file's place is the model's name, so only one is read
ALIASES = ZOO / "aliases.yaml"
SHIPPED = {name: ROOM / name for name in ("embedded", "recall")}  # models whose weights come with the package
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@cache
def zoo() -> dict[str, Path]:
    """Hub id to the file that holds its config."""
    return {f"{file.parent.name}/{file.stem}": file for file in sorted(ZOO.glob("*/*.yaml"))}


def names() -> list[str]:
    """Every name the zoo knows, and the models that ship."""
    return [*SHIPPED, *zoo()]


def locate(source: str | os.PathLike[str]) -> tuple[str, Path, Path | None]:
    """(name, config file, weights folder or None) of a zoo name, a path, or a hub id in the local cache.

    Raises
    ------
    DovetailError
        None of these; the hint names the nearest models of the zoo and how to give a folder.
    """
    try:
        text = os.fspath(source)
    except TypeError:
        what = "a model is a name, a path, or the mapping of a config"
        raise DovetailError(what, why=f"got {type(source).__name__}", hint="Qwen/Qwen3-8B") from None
    if folder := SHIPPED.get(text):
        return text, folder / "config.json", folder
    if found := _in_zoo(text):
        return found, zoo()[found], hub_folder(found)
    if file := config_file(text):
        whole = file.name == "config.json"
        folder = file.resolve().parent
        return (folder.name if whole else file.stem), file, (folder if whole else None)
    if snapshot := hub_folder(text):
        return text, snapshot / "config.json", snapshot
    hint = f"{did_you_mean(text, names())}, or give a folder that holds its config.json"
    why = "not in the zoo, no such path, not in the local Hugging Face cache"
    raise DovetailError(f"unknown model '{text}'", why=why, hint=hint)


def _in_zoo(text: str) -> str | None:
    """The hub id meant: itself, in any case, without its organisation, or by an alias."""
    if text in zoo():
        return text
    folded = text.lower()
    for name in zoo():
        if folded in (name.lower(), name.rpartition("/")[2].lower()):
            return name
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", text):
        return None
    aliases = {alias.lower(): str(name) for alias, name in read_fields(ALIASES).items()}
    return aliases.get(folded)


def hub_folder(name: str) -> Path | None:
    """The snapshot of a hub id in the local Hugging Face cache, if it has a config there."""
    if not _HUB_ID.fullmatch(name):
        return None
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    repository = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"models--{name.replace('/', '--')}"
    try:
        main = repository / "snapshots" / (repository / "refs" / "main").read_text().strip()
        return main if (main / "config.json").is_file() else None
    except (OSError, ValueError):
        return None
