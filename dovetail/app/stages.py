"""Finished work kept on disk: a long command that is stopped goes on from its last finished stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dovetail.app.output import finite
from dovetail.core.content import digest
from dovetail.core.files import write_json
from dovetail.core.manifest import file_hash
from dovetail.core.version import __version__


class Stages:
    """Results of named stages in `folder`, each valid for one input and one version of dovetail.

    A stage whose name and inputs are on disk is not run again; one that was stopped left nothing behind.
    """

    def __init__(self, folder: Path, report: Callable[[str], None] = lambda line: None) -> None:
        self.folder, self.report = folder, report

    def run(self, name: str, inputs: Any, work: Callable[[], dict[str, Any]], makes: Path | None = None) -> Any:
        """The result of `work` for `inputs`, from disk, or made now and kept; either way as JSON reads it back.

        Parameters
        ----------
        inputs
            Anything `core.content.digest` takes.
        makes : Path
            A file that `work` writes besides: the stage is run again when it is gone or was changed since.
        """
        path, key = self.folder / f"{name}.json", digest([__version__, inputs])
        kept = _read(path)
        if kept.get("inputs") == key and "result" in kept and kept.get("made") == _hash(makes):
            self.report(f"{name}: kept from an earlier run")
            return kept["result"]
        result = finite(work())
        write_json(path, {"inputs": key, "made": _hash(makes), "result": result})
        return result


def _hash(path: Path | None) -> str | None:
    return None if path is None else file_hash(path) if path.is_file() else "gone"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
