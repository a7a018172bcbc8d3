"""Ways of speculation by name, for a model: what guesses, and how many guesses pay here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.runtime.decoding.draft import DraftModel, early_exit
from dovetail.runtime.decoding.drafting import Drafter
from dovetail.runtime.decoding.eagle import Eagle, EagleLayer
from dovetail.runtime.decoding.lookup import PromptLookup
from dovetail.runtime.decoding.medusa import MOST, Medusa
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sizing import PassTime, Sizing
from dovetail.runtime.decoding.speculation import Source, Speculation
from dovetail.runtime.decoding.speculator import Speculator, trained
from dovetail.runtime.decoding.typical import Typical
from dovetail.runtime.load import Loaded, load

HEADS = ("medusa", "eagle")  # what is trained: folders of these names beside the weights, where no other is given
_MEDUSA = {"fixed", "relaxed"}  # what may follow its name
_RANKS = 4  # guesses of each place of a draft
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Given:
    """What a mode may need beside the model.

    Parameters
    ----------
    heads : Path or None
        Folder of trained heads or a draft layer, for a mode with one of them.
    beside : Path or None
        Folder that heads lie in where `heads` is None, by kind; by default that of the model.
    draft : Path or None
        Folder of a smaller model of the same vocabulary.
    always : int
        Guesses in every step; 0: as many as pay, by measured times and chances.
    """

    heads: Path | None = None
    draft: Path | None = None
    always: int = 0
    beside: Path | None = None


def named(mode: str, *, heads: bool = False, draft: bool = False) -> list[tuple[str, str]]:
    """Kinds of a mode, each with its parameter; none for ``none``.

    Parameters
    ----------
    heads, draft : bool
        Whether a folder of heads, or a smaller model, is given beside the mode.

    Raises
    ------
    DovetailError
        An unknown kind, two of a kind, a parameter that a kind has not; something given that no kind, or more than
        one, would use.
    """
    found = [] if mode == "none" else [(kind, rest) for kind, _, rest in (n.partition(":") for n in mode.split("+"))]
    kinds = [kind for kind, _ in found]
    if unknown := [kind for kind in kinds if kind not in _SOURCES]:
        raise DovetailError(f"no speculation '{unknown[0]}'", hint=did_you_mean(unknown[0], ["none", *_SOURCES]))
    if len(set(kinds)) < len(kinds) or sum(kind in _DRAFTS for kind in kinds) > 1:
        raise DovetailError(f"'{mode}' names two of a kind", where="speculation", hint="medusa+lookup, or draft+lookup")
    for name, (kind, _) in zip(mode.split("+"), found, strict=False):
        if ":" in name and kind != "exit" and not (kind == "medusa" and _words(name)):
            hint = f"{kind}; exit:N, medusa:fixed and medusa:relaxed have one"
            raise DovetailError(f"'{name}' has a parameter", where="speculation", hint=hint)
    if heads and (users := sum(kind in HEADS for kind in kinds)) != 1:
        what = "one folder of heads for two kinds" if users else "heads that nothing uses"
        hint = "folders medusa and eagle beside the weights" if users else "--speculate medusa, or eagle"
        raise DovetailError(what, where="--heads", why=f"the mode is '{mode}'", hint=hint)
    if draft and "draft" not in kinds:
        why = f"the mode is '{mode}'"
        raise DovetailError("a draft model that nothing uses", where="--draft", why=why, hint="--speculate draft")
    return found


def relaxes(mode: str) -> bool:
    """Whether a mode keeps guesses that the model would not have chosen: its text is not the one without guesses."""
    return any(kind == "medusa" and "relaxed" in rest.split(":") for kind, rest in named(mode))


def _words(name: str) -> bool:
    """Whether ``medusa:…`` is followed by words that it has, none twice."""
    words = name.split(":")[1:]
    return set(words) <= _MEDUSA and len(set(words)) == len(words)


def speculation(loaded: Loaded, mode: str, given: Given | None = None) -> Speculation | None:
    """What proposes tokens in a mode: names joined by ``+``, or ``none``.

    Parameters
    ----------
    mode : str
        ``medusa``: heads that were trained for the model, in a tree for each step; ``medusa:fixed``: in one tree, grown
        from their measured accuracies, as the paper has it; ``medusa:relaxed``: with typical acceptance of all guesses
        of the tree, which is not lossless (``medusa:fixed:relaxed`` is the paper's); ``eagle``: a draft layer that was
        trained; ``draft``: a smaller model; ``exit:N``: the first N layers; ``lookup``: what followed the newest tokens
        before. ``medusa+lookup``:
        both in one tree.

    Raises
    ------
    DovetailError
        As of `named`; no heads, heads of another model, a draft of another vocabulary.
    """
    given = given or Given()
    if not (names := named(mode, heads=given.heads is not None, draft=given.draft is not None)):
        return None
    sources = [_SOURCES[kind](loaded, parameter, given) for kind, parameter in names]
    drafts = [source.sizing for source in sources if isinstance(source, Drafter)]
    sizing = drafts[0] if drafts else Sizing(PassTime.of(runner_of(loaded)), always=given.always)
    return Speculation(sources, sizing, Typical() if relaxes(mode) else None)


def _folder(loaded: Loaded, kind: str, given: Given) -> Path:
    return trained(kind, given.heads, given.beside or loaded.folder, "--heads HEADS")


def _medusa(loaded: Loaded, parameter: str, given: Given) -> Source:
    fixed = "fixed" in parameter.split(":")
    return Medusa.of(_folder(loaded, "medusa", given), loaded, most=given.always or MOST, fixed=fixed)


def _eagle(loaded: Loaded, _: str, given: Given) -> Source:
    layer = EagleLayer.of(Speculator.open(_folder(loaded, "eagle", given)), loaded)
    return Eagle.of(loaded, layer, always=given.always)


def _draft(loaded: Loaded, _: str, given: Given) -> Source:
    if given.draft is None:
        raise DovetailError("no draft model", where="speculation", hint="--draft MODEL, of the same vocabulary")
    draft = load(given.draft, device=str(loaded.device))
    return DraftModel.of(loaded, draft, deepest=_DEEPEST, ranks=_RANKS, always=given.always)


def _exit(loaded: Loaded, layers: str, given: Given) -> Source:
    if not layers.isdecimal():
        raise DovetailError("no layer to leave after", where="speculation", hint="exit:2 for the first two layers")
    return early_exit(loaded, int(layers), deepest=_DEEPEST, ranks=_RANKS, always=given.always)


_SOURCES: Mapping[str, Callable[[Loaded, str, Given], Source]] = {
    "medusa": _medusa,
    "lookup": lambda loaded, _, given: PromptLookup(),
    "eagle": _eagle,
    "draft": _draft,
    "exit": _exit,
}
_DRAFTS = {"eagle", "draft", "exit"}  # these decide how far they go: one of them at a time
