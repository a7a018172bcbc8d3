"""Finished work kept on disk: a long command that is stopped goes on from its last finished stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dovetail.core.content import digest
from dovetail.core.files import write_json


class Stages:
    """Results of named stages in `folder`, each valid for one input.

    A stage whose name and inputs are on disk is not run again; one that was stopped left nothing behind.
    """

    def __init__(self, folder: Path, report: Callable[[str], None] = lambda line: None) -> None:
        self.folder, self.report = folder, report

    def run(self, name: str, inputs: Any, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of `work` for `inputs` (anything `core.content.digest` takes): from disk, or made and kept."""
        path, key = self.folder / f"{name}.json", digest(inputs)
        kept = _read(path)
        if kept.get("inputs") == key:
            self.report(f"{name}: kept from an earlier run")
            result: dict[str, Any] = kept["result"]
            return result
        result = work()
        write_json(path, {"inputs": key, "result": result})
        return result


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
