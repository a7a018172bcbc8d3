"""A recipe: an ordered list of methods with a name, read from the built-in list, a YAML file, or Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from functools import cache, reduce
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dovetail.core.content import digest
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.version import __version__
from dovetail.model.graph import Graph
from dovetail.recipe.method import METHODS, Guesses, Method, OnCache, OnDecoding, OnLayers, OnModel, OnWeights
from dovetail.recipe.parameters import build, with_parameters

if TYPE_CHECKING:
    from dovetail.recipe.layerwise.calibration import Calibration
    from dovetail.recipe.layerwise.job import Job
    from dovetail.recipe.layerwise.run import OnLayer
    from dovetail.runtime.cache.plan import CachePlan
    from dovetail.runtime.checkpoint import Checkpoint
    from dovetail.runtime.decoding.proposal import Proposer
    from dovetail.runtime.load import Loaded


@dataclass(frozen=True, slots=True)
class Applied:
    """What `Recipe.apply` wrote: the folder, and the payload (elements and scales) before and after."""

    path: Path
    bytes_before: int
    bytes_after: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """Methods in the order they are applied.

    Raises
    ------
    DovetailError
        A method needs weights in another form than the one before it leaves (quantising twice, pruning packed
        weights), or would undo what one before it did (rotating pruned weights); two methods guess, or two decide
        which tokens a cache keeps, or how it stores them.
    """

    name: str
    methods: tuple[Method, ...] = ()

    def __post_init__(self) -> None:
        form, last, pruned = "dense", "the checkpoint", ""
        if self.relaxed and "relaxed" not in self.name:
            object.__setattr__(self, "name", f"{self.name} (relaxed)")  # wherever it is named, that is said
        if len(guess := [_name(step) for step in self.methods if getattr(step, "guesses", False)]) > 1:
            why = f"{' and '.join(guess)} both guess the tokens to come, and a step verifies one kind of guesses"
            raise DovetailError("two methods that guess", where=f"recipe {self.name}", why=why, hint="one of them")
        for kind, does in _CACHES.items():
            if len(two := [_name(step) for step in self.methods if getattr(step, "caches", "") == kind]) > 1:
                why, what = f"{' and '.join(two)} both decide {does}", f"two methods for one {kind} of the cache"
                raise DovetailError(what, where=f"recipe {self.name}", why=why, hint="one of them")
        for step in self.methods:
            if (needs := getattr(step, "takes", form)) not in (form, "any"):
                why = f"{_name(step)} needs {needs} weights, {last} leaves them {form}"
                raise DovetailError("impossible order of methods", where=f"recipe {self.name}", why=why, hint=_ORDER)
            form, last = getattr(step, "leaves", form), _name(step)
            if pruned and getattr(step, "fills_zeros", False):
                why = f"{last} makes new weights of all of a row, and the zeros of {pruned} would be gone"
                raise DovetailError("impossible order of methods", where=f"recipe {self.name}", why=why, hint=_ORDER)
            pruned = last if getattr(step, "makes_zeros", False) else pruned

    @staticmethod
    def names() -> list[str]:
        """Built-in recipes, in the order of their file."""
        return list(_built_in())

    @classmethod
    def load(cls, source: Recipe | str | Path | Sequence[Any] | Mapping[str, Any]) -> Recipe:
        """A recipe from a name, a YAML file, a list of methods, or ``{"name": …, "methods": […]}``.

        A name is that of a recipe, or of a method alone, and may carry parameters: ``w4a16-rtn:group=64``; names joined
        by ``+`` are one recipe after the other: ``w8a16+snapkv:keep=512+medusa``. A list holds methods, names, or
        ``{name: parameters}``.

        Raises
        ------
        DovetailError
            Unknown recipe, method or parameter (with the nearest names), a value out of range, an impossible order.
        """
        if isinstance(source, Recipe):
            return source
        if isinstance(source, Mapping):
            return cls._from_mapping(source, "recipe")
        if not isinstance(source, str | Path):
            return cls._from_list(source, "recipe")
        if str(source).endswith((".yaml", ".yml")):
            return cls._from_file(Path(source).expanduser())
        return cls._from_name(str(source))

    @classmethod
    def _from_name(cls, source: str) -> Recipe:
        return cls(source, tuple(step for part in source.split("+") for step in _named(part)))

    @classmethod
    def _from_file(cls, path: Path) -> Recipe:
        try:
            content = _yaml(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise DovetailError("cannot be read", where=str(path), why=why, hint="a recipe as YAML") from None
        if isinstance(content, Mapping):
            return cls._from_mapping({"name": path.stem, **content}, str(path))
        return cls(path.stem, build(content, str(path)))

    @classmethod
    def _from_mapping(cls, content: Mapping[str, Any], where: str) -> Recipe:
        if extra := sorted(str(k) for k in content.keys() - {"name", "methods"}):
            hint = did_you_mean(extra[0], ["name", "methods"])
            raise DovetailError(f"unknown field '{extra[0]}'", where=where, hint=hint)
        return cls(str(content.get("name", "custom")), build(content.get("methods"), f"{where}: methods"))

    @classmethod
    def _from_list(cls, steps: Sequence[Any], where: str) -> Recipe:
        methods = build(steps, where)
        return cls("+".join(map(_name, methods)) or "none", methods)

    def describe(self) -> str:
        """The methods in words, ``rtn(bits=4, group=64)``: their first parameters and those that are not default."""
        return ", then ".join(map(_in_words, self.methods)) or "the model as it is"

    def to_json(self) -> dict[str, Any]:
        """What `load` reads back."""
        return {"name": self.name, "methods": [{_name(m): asdict(m)} for m in self.methods]}  # type: ignore[call-overload]

    def rewrite(self, graph: Graph) -> Graph:
        """The graph after all methods: of weights, then of the cache; what guesses does so for what they leave."""
        cached = sorted((m for m in self.methods if isinstance(m, OnCache)), key=lambda m: m.caches, reverse=True)
        guess = self.guess()
        steps: tuple[Any, ...] = (*self.of_weights().methods, *cached, *(() if guess is None else (guess,)))
        return reduce(lambda now, step: step.rewrite(now), steps, graph)

    def content(self, calibration: Calibration | None = None) -> list[Any]:
        """All that decides what it makes of given weights, for keys: parameters, calibration, version."""
        from dovetail.recipe.layerwise.calibration import Calibration

        text = [(calibration or Calibration()).key()] if self.calibrated else []
        return [self.to_json()["methods"], *text, __version__]

    def of_weights(self) -> Recipe:
        """The recipe without its methods of speculation and of the cache, which leave weights as they are."""
        return Recipe(self.name, tuple(m for m in self.methods if not isinstance(m, OnCache) and not _guesses(m)))

    def unguessed(self) -> Recipe:
        """The recipe without its method of speculation, which leaves the text as it is."""
        return Recipe(self.name, tuple(m for m in self.methods if not _guesses(m)))

    def guess(self) -> Guesses | None:
        """Its method of speculation, if it has one."""
        return next((cast("Guesses", step) for step in self.methods if getattr(step, "guesses", False)), None)

    @property
    def guesser(self) -> str:
        """The name of its method of speculation, ``medusa:relaxed`` of one that is not lossless; empty without."""
        name = next((_name(step) for step in self.methods if getattr(step, "guesses", False)), "")
        return f"{name}:relaxed" if self.relaxed else name

    @property
    def relaxed(self) -> bool:
        """Whether it keeps guesses that the model would not have chosen: the text is not that of the other methods."""
        return any(getattr(step, "relaxed", False) for step in self.methods)

    def sized(self, guesses: int) -> Recipe:
        """The same with another number of guesses a step, where it guesses."""
        methods = (cast("Guesses", m).sized(guesses) if getattr(m, "guesses", False) else m for m in self.methods)
        return Recipe(f"{self.name} of {guesses}", tuple(methods))

    @property
    def calibrated(self) -> bool:
        """Whether a method looks at a text."""
        return any(isinstance(m, OnLayers | OnModel) for m in self.methods)

    def on_decoding(self, loaded: Loaded, folder: Path | None = None) -> Proposer | None:
        """What guesses tokens for a model, of the recipe's method that does; None without one.

        Parameters
        ----------
        folder : Path
            Of the model that heads lie beside; by default that which `loaded` is from.

        Raises
        ------
        DovetailError
            Heads that are not there, or of another model.
        """
        found = (step for step in self.methods if isinstance(step, OnDecoding))
        return next((step.on_decoding(loaded, folder or loaded.folder) for step in found), None)

    def on_cache(self) -> CachePlan | None:
        """How the decoder here keeps its cache; None where no method says so, hence all of it as it is."""
        from dovetail.runtime.cache.plan import CachePlan

        steps = [m for m in self.methods if isinstance(m, OnCache)]
        return reduce(lambda plan, step: step.on_cache(plan), steps, CachePlan()) if steps else None

    def on_weights(self, checkpoint: Checkpoint, job: Job | None = None) -> Checkpoint:
        """The checkpoint after all methods that change stored tensors.

        Nothing is read yet, but for calibrated methods, which need a `job` and do their work at once; neighbours among
        them go through the layers together.
        """
        now, waiting = checkpoint, list["OnLayer"]()
        steps: tuple[Any, ...] = (*self.methods, None)
        for index, step in enumerate(steps):
            if isinstance(step, OnLayers):
                now, change = step.on_layers(now)
                waiting.append(change)
                continue
            if waiting:
                now, waiting = _through_layers(now, waiting, job, index), []
            if isinstance(step, OnWeights):
                now = step.on_weights(now)
            if isinstance(step, OnModel):
                now = step.on_model(now, _needed(job).part(index, "-trained"))
        return now

    def apply(
        self,
        folder: str | Path,
        out: str | Path,
        *,
        calibration: Calibration | None = None,
        work: Path | None = None,
        keep: bool = False,
        report: Callable[[str], None] = lambda line: None,
    ) -> Applied:
        """Really change a checkpoint: read `folder` tensor by tensor, write `out` whole or not at all.

        Parameters
        ----------
        calibration : Calibration
            The text of calibrated methods; see there for the default.
        work : Path
            Where calibrated methods keep finished layers until `out` is written, beside it by default. The same call
            after a stop goes on from there.
        keep : bool
            Whether finished layers stay even then, for a caller that has more to do before the work is safe
            (`remove_finished`).

        Raises
        ------
        DovetailError
            A broken checkpoint, a model the methods cannot be applied to, a disk too small.
        """
        from dovetail.runtime.checkpoint import Checkpoint, check_target

        started = time.perf_counter()
        before, target = Checkpoint.open(folder), Path(out).expanduser()
        check_target(before.folder, target)
        job = self._job(before, calibration, work or work_folder(target), report)
        with job.held() if job else nullcontext():
            after = self.on_weights(before, job)
            done = {**self.to_json(), **({"calibration": job.calibration.to_json()} if job else {})}
            path = after.save(target, recipe=done, report=report)
            if job and not keep:
                job.remove()
        return Applied(path, before.payload_bytes, after.payload_bytes, time.perf_counter() - started)

    def _job(
        self, checkpoint: Checkpoint, calibration: Calibration | None, work: Path, report: Callable[[str], None]
    ) -> Job | None:
        if not self.calibrated:
            return None
        from dovetail.recipe.layerwise.calibration import Calibration
        from dovetail.recipe.layerwise.job import Job

        chosen = calibration or Calibration()
        key = digest([checkpoint.content(), *self.content(chosen)])
        return Job(work, key, chosen, report)


def _named(source: str) -> tuple[Method, ...]:
    """The methods of one name, which may carry parameters. Raises `DovetailError` for one that is not known."""
    name, _, parameters = source.partition(":")
    entries = _built_in().get(name, [{name: {}}] if name in METHODS else None)
    if entries is None:
        known = dict.fromkeys([*_built_in(), *METHODS])
        hint = "; ".join([did_you_mean(name, list(known)), "or a YAML file"])
        raise DovetailError(f"unknown recipe '{name}'", hint=hint)
    return build(with_parameters(entries, parameters, source) if parameters else entries, source)


def work_folder(out: Path, attempt: int = 1) -> Path:
    """Where calibrated methods keep finished layers until `out` is written; a folder for each of several attempts."""
    return out.with_name(f".{out.name}.layers" + (f"-{attempt}" if attempt > 1 else ""))


def _through_layers(checkpoint: Checkpoint, methods: Sequence[OnLayer], job: Job | None, step: int) -> Checkpoint:
    from dovetail.recipe.layerwise.run import run_layers

    return run_layers(checkpoint, methods, _needed(job).part(step))


def _needed(job: Job | None) -> Job:
    if job is None:
        raise DovetailError("calibrated methods need a text", where="recipe", hint="Recipe.apply, or compress")
    return job


def _in_words(step: Method) -> str:
    parameters = {f.name: (getattr(step, f.name), f.default) for f in fields(step)}  # type: ignore[arg-type]
    first = next(iter(parameters), "")
    told = [f"{name}={_told(value)}" for name, (value, usual) in parameters.items() if value != usual or name == first]
    return f"{_name(step)}({', '.join(told)})"


def _told(value: Any) -> str:
    """A parameter's value; of bits by layer the first few, as a file has them."""
    if not isinstance(value, tuple):
        return str(value)
    if value and not isinstance(value[0][0], str):
        return f"of {len(value)} heads"
    more = f", {len(value) - _TOLD} more" if len(value) > _TOLD else ""
    return "{" + ", ".join(f"{glob}: {bits}" for glob, bits in value[:_TOLD]) + more + "}"


def _guesses(step: Method) -> bool:
    return bool(getattr(step, "guesses", False))


_CACHES = {"policy": "which tokens a cache keeps", "format": "how a cache stores them"}
_TOLD = 3  # entries of a list
_ORDER = "prune first (after any rotation), quantise once, the head last"


def _name(step: Method) -> str:
    """The name a method is registered under."""
    return next((name for name in METHODS if METHODS[name] is type(step)), type(step).__name__)


def _yaml(text: str, where: str) -> Any:
    import yaml

    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        why = " ".join(str(error).replace('in "<unicode string>", ', "at ").split())[:200]
        raise DovetailError("is not YAML", where=where, why=why, hint="methods: [{rtn: {bits: 4}}]") from None


@cache
def _built_in() -> dict[str, list[Any]]:
    text = resources.files("dovetail.recipe").joinpath("recipes.yaml").read_text(encoding="utf-8")
    content: dict[str, list[Any]] = _yaml(text, "recipes.yaml")
    return content
