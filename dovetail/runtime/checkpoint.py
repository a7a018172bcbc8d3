"""A Hugging Face safetensors folder as a lazy stream of named tensors: read, transformed and written one at a time."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.core.content import digest
from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.files import check_apart, check_ours, whole_folder, write_json, write_text
from dovetail.core.manifest import versions
from dovetail.runtime.card import card
from dovetail.runtime.pace import Pace
from dovetail.runtime.tensorfile import TensorInfo, TensorWriter, read_header, read_tensor

if TYPE_CHECKING:
    from torch import Tensor

Transform = Callable[[str, "Tensor"], Mapping[str, "Tensor"]]
Forecast = Callable[[TensorInfo], Sequence[TensorInfo]]

RECORD = "dovetail.json"  # what made a folder: base hash, recipe, versions
WEIGHTS = "model.safetensors"
# Facts about a tensor that the file format wants beside it; never read in a step, hence not part of the payload.
_METADATA = (".weight_shape",)
_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model")
_BESIDE = ("generation_config.json", *_TOKENIZER, "*.jinja", "LICENSE*")  # not README.md: its figures are the base's


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Named tensors of a model on disk, with the changes they go through on the way to another folder.

    Parameters
    ----------
    folder : Path
        Hugging Face folder: ``config.json`` and one or several safetensors files.
    config : mapping
        ``config.json``, with what `with_quantization` added.
    stored : mapping of str to TensorInfo
        The tensors on disk.
    transforms : tuple of (transform, forecast)
        Each transform turns (name, tensor) into the tensors stored instead; its forecast says which those are, so that
        sizes are known before any work is done.
    files : tuple of Path
        The safetensors files of `folder`, whatever `stored` has become since.
    """

    folder: Path
    config: Mapping[str, Any]
    stored: Mapping[str, TensorInfo]
    transforms: tuple[tuple[Transform, Forecast], ...] = ()
    files: tuple[Path, ...] = ()

    @classmethod
    def open(cls, folder: str | Path) -> Checkpoint:
        """Read the headers of a folder, without torch.

        Raises
        ------
        DovetailError
            No config, no safetensors, a shard missing, a file truncated, overlong or corrupt: which, and its sizes.
        """
        path = Path(folder).expanduser()
        config = _json(path / "config.json", hint="a Hugging Face model folder")
        stored: dict[str, TensorInfo] = {}
        for shard, names in _shards(path).items():
            infos = read_header(path / shard)
            if lost := sorted(names - infos.keys()):
                raise DovetailError(
                    f"tensor '{lost[0]}' is not in {shard}", where=str(path), why="the index says it is"
                )
            stored |= infos
        files = sorted({info.file for info in stored.values() if info.file})
        return cls(path, config, stored, files=tuple(files))

    def map(self, transform: Transform, forecast: Forecast | None = None) -> Checkpoint:
        """The checkpoint with every tensor, as earlier transforms leave it, replaced by what `transform` makes.

        `forecast` says which tensors those are; without it names, shapes and dtypes stay.
        """
        return replace(self, transforms=(*self.transforms, (transform, forecast or (lambda info: (info,)))))

    def with_quantization(self, config: Mapping[str, Any]) -> Checkpoint:
        """The checkpoint declaring a ``quantization_config``. Raises `DovetailError` when it declares one already."""
        if "quantization_config" in self.config:
            raise DovetailError("already quantised", where=str(self.folder), hint="start from the dense checkpoint")
        return replace(self, config={**self.config, "quantization_config": dict(config)})

    def read(self, name: str) -> dict[str, Tensor]:
        """What the transforms make of the stored tensor `name`; often one tensor of that name."""
        return self._changed(name, read_tensor(self.stored[name]))

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor as the transforms leave it, one source tensor in memory at a time."""
        for name in self.stored:
            yield from self.read(name).items()

    def infos(self) -> dict[str, TensorInfo]:
        """Names, dtypes and shapes as the transforms leave them, by their forecasts: no weight is read."""
        found = list(self.stored.values())
        for _, forecast in self.transforms:
            found = [new for old in found for new in forecast(old)]
        return {info.name: info for info in found}

    def _changed(self, name: str, tensor: Tensor) -> dict[str, Tensor]:
        now = {name: tensor}
        for transform, _ in self.transforms:
            now = {new: t for old, one in now.items() for new, t in transform(old, one).items()}
        return now

    @property
    def payload_bytes(self) -> int:
        """`payload` of the tensors as the transforms leave them."""
        return payload(self.infos())

    def sha256(self) -> str:
        """Hash of the safetensors files that were opened, in the order of their names."""
        sink = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    sink.update(block)
        return sink.hexdigest()

    def content(self) -> str:
        """Hash of all that decides what the model computes of a text: weights, config and tokenizer."""
        beside = (file for pattern in _TOKENIZER for file in self.folder.glob(pattern) if file.is_file())
        texts = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in beside}
        return digest([self.sha256(), self.config, texts])

    def save(self, out: str | Path, *, recipe: Any = None, report: Callable[[str], None] = lambda line: None) -> Path:
        """Write the transformed checkpoint as a folder that appears whole or not at all.

        Parameters
        ----------
        out : path
            A new folder, or one written by dovetail before, which is replaced.
        recipe : JSON value
            What was done, kept in ``dovetail.json`` with the hash of the source.

        Raises
        ------
        DovetailError
            `out` is somebody else's folder, the source itself or a folder around it, or the disk is too small: before
            anything is written. A weight that is not finite.
        """
        target = Path(out).expanduser()
        check_target(self.folder, target)
        infos = self.infos()
        with whole_folder(target) as part:
            writer = TensorWriter(part / WEIGHTS, infos)
            _check_space(part, writer.bytes)
            pace = Pace(len(self.stored), "tensors", report)
            with writer:
                for name in self.stored:
                    self._write(name, writer)
                    pace.step()
            write_json(part / "config.json", self.config)
            about = self._record(recipe, infos)
            write_json(part / RECORD, about)
            write_text(part / "README.md", card(about))
            for pattern in _BESIDE:
                for file in filter(Path.is_file, self.folder.glob(pattern)):
                    shutil.copyfile(file, part / file.name)
        return target

    def _write(self, name: str, writer: TensorWriter) -> None:
        for new, tensor in self.read(name).items():
            if tensor.is_floating_point() and tensor.itemsize > 1 and not tensor.isfinite().all():
                hint = "a checkpoint that is not broken"
                raise DovetailError("holds a weight that is not finite", where=new, hint=hint)
            writer.add(new, tensor)

    def _record(self, recipe: Any, infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
        return {
            "base": {"name": self.folder.name, "sha256": self.sha256(), "record": record(self.folder)},
            "recipe": recipe,
            "payload_bytes": payload(infos),
            "versions": versions(),
        }


def payload(infos: Mapping[str, TensorInfo]) -> int:
    """Stored bytes of elements and scales: what `Graph.weight_bytes` predicts.

    The file's header and the ``weight_shape`` of each packed matrix (16 bytes, read once) are metadata, not payload.
    """
    return sum(info.bytes for name, info in infos.items() if not name.endswith(_METADATA))


def record(folder: str | Path) -> dict[str, Any] | None:
    """The ``dovetail.json`` of a folder: base hash, recipe, versions; None for a folder dovetail did not write."""
    path = Path(folder) / RECORD
    return _json(path) if path.is_file() else None


def _json(path: Path, hint: str = "copy or download the file again") -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DovetailError(f"no {path.name}", where=str(path.parent), hint=hint) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DovetailError("is not readable JSON", where=str(path), why=str(error)[:200]) from None
    if not isinstance(value, dict):
        raise DovetailError("does not hold an object", where=str(path))
    return value


def _shards(folder: Path) -> dict[str, set[str]]:
    """Safetensors files of a folder, with the tensors the index expects in each."""
    if (folder / WEIGHTS).is_file():
        return {WEIGHTS: set()}
    if not (folder / f"{WEIGHTS}.index.json").is_file():
        hint = "save the model with safetensors (save_pretrained does)"
        raise DovetailError(f"no {WEIGHTS}", where=str(folder), why="nor an index of shards", hint=hint)
    where = folder / f"{WEIGHTS}.index.json"
    found: dict[str, set[str]] = {}
    for name, shard in _weight_map(where).items():
        found.setdefault(shard, set()).add(name)
    if missing := sorted(shard for shard in found if not (folder / shard).is_file()):
        why = f"the index names {len(found)} files, {len(missing)} are not there"
        raise DovetailError(f"shard {missing[0]} is missing", where=str(folder), why=why, hint="download it again")
    return found


def _weight_map(where: Path) -> dict[str, str]:
    entries = _json(where).get("weight_map")
    if not isinstance(entries, dict) or not all(isinstance(s, str) and Path(s).name == s for s in entries.values()):
        raise DovetailError("has no weight_map of tensor names to files", where=str(where))
    return entries


def check_target(source: Path, target: Path) -> None:
    """Refuse a folder that is not to be replaced: the source, or somebody else's. Raises `DovetailError`."""
    check_apart(source, target)
    check_ours(target, RECORD)


def _check_space(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        why = f"{needed:,} bytes are needed, {free:,} are free"
        hint = "free some space or give another --out"
        raise DovetailError("the disk is too small", where=str(target.parent), why=why, hint=hint, exit_code=INFEASIBLE)
