"""The output head as both faces of the method `head` see it: its matrix, its name once untied, what the config says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.model.config import Config
from dovetail.model.graph import Graph
from dovetail.model.operators import Operator, Weight
from dovetail.model.storage.compressed import compressed_tensors
from dovetail.recipe.scheme import Scheme, quantization_config
from dovetail.recipe.targets import HEAD

if TYPE_CHECKING:
    from dovetail.runtime.checkpoint import Checkpoint

_MATRIX = "lm_head.weight"


def head_of(graph: Graph) -> tuple[Weight, str]:
    """The matrix that makes the logits, and the name it has in the checkpoint once it is a tensor of its own.

    Raises
    ------
    DovetailError
        The graph has no head, or one that is quantised already.
    """
    heads = (o for o in graph.operators if o.name.partition("@")[0] == HEAD)
    found = next((w for o in heads for w in o.weights if not _is_vector(w)), None)
    if found is None:
        raise DovetailError("no output head", hint="a causal language model", exit_code=INFEASIBLE)
    if found.format.quantised:
        what = f"the output head is quantised already, as {found.format.name}"
        raise DovetailError(what, where=found.name, hint="head once, last", exit_code=INFEASIBLE)
    return found, found.name if found.linear else _own_name(found.name)


def _is_vector(weight: Weight) -> bool:
    return isinstance(weight.rows, int) and weight.rows == 1


def _own_name(embedding: str) -> str:
    """What transformers calls a head that has its own matrix, in a model whose embedding has this name."""
    root = "language_model."
    return root + _MATRIX if embedding.startswith(root) else _MATRIX


def packed_head(graph: Graph, scheme: Scheme) -> Graph:
    """The graph whose head is stored by `scheme`, apart from the embedding."""
    found, name = head_of(graph)
    fitted = scheme.fitted(found.cols, name)
    config = quantization_config([(_module(name), fitted, 1)], ())
    form = compressed_tensors(Config(config), found.format.dtype).rules[-1].form
    stored = replace(found, name=name, format=form or found.format, linear=True)

    def changed(operator: Operator) -> Operator:
        if operator.name.partition("@")[0] != HEAD:
            return operator
        return replace(operator, weights=tuple(stored if w == found else w for w in operator.weights))

    return graph.map_operators(changed)


def check_mixture(checkpoint: Checkpoint, graph: Graph, scheme: Scheme) -> None:
    """Refuse a mixture whose experts are stored in another way than the head.

    transformers 5.17 stacks experts as it loads them, for one scheme of the whole file: with two it stops, and experts
    that are dense beside a quantised head stay as they were made, at random, without a word.

    Raises
    ------
    DovetailError
        The experts are dense, or of other bits or groups.
    """
    if not any(weight.experts > 1 for weight, _ in graph.weights()):
        return
    groups = (checkpoint.config.get("quantization_config") or {}).get("config_groups") or {}
    if [group["weights"] for group in groups.values()] != [scheme.weights()]:
        why = "transformers loads the experts of a mixture only where everything is quantised in one way"
        hint = f"a head as the experts are, after rtn(bits={scheme.bits}, group={scheme.group})"
        where = str(checkpoint.folder)
        raise DovetailError("the head cannot differ", where=where, why=why, hint=hint, exit_code=INFEASIBLE)


def with_head(checkpoint: Checkpoint, name: str, scheme: Scheme) -> Checkpoint:
    """The checkpoint declaring that its head `name` is untied and stored by `scheme`, whatever else it declares.

    Raises
    ------
    DovetailError
        It is quantised by another library's method, whose config has no place for one more.
    """
    before = checkpoint.config.get("quantization_config") or {}
    if before and (before.get("quant_method") != "compressed-tensors" or not before.get("config_groups")):
        what = f"weights are quantised already, by {before.get('quant_method', 'an unknown method')}"
        hint = "the 16-bit checkpoint of this model"
        raise DovetailError(what, where=str(checkpoint.folder), hint=hint, exit_code=INFEASIBLE)
    own = quantization_config([(_module(name), scheme, 1)], ())
    own["config_groups"]["group_0"]["targets"] = [_module(name)]
    config = {**checkpoint.config, "quantization_config": _merged(before, own, _module(name)) if before else own}
    return replace(checkpoint, config=_untied(config))


def _merged(before: Mapping[str, Any], own: Mapping[str, Any], module: str) -> dict[str, Any]:
    """Both declarations: the head's group comes first, because readers take the first that names a module."""
    groups = [*own["config_groups"].values(), *before["config_groups"].values()]
    formats = {before["format"], own["format"]}
    return {
        **before,
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "config_groups": {f"group_{index}": group for index, group in enumerate(groups)},
        "ignore": [name for name in before.get("ignore") or () if name not in (module, HEAD)],
    }


def _untied(config: Mapping[str, Any]) -> dict[str, Any]:
    inner = config.get("text_config")
    text = {"text_config": {**inner, "tie_word_embeddings": False}} if isinstance(inner, Mapping) else {}
    return {**config, **text, "tie_word_embeddings": False}


def _module(name: str) -> str:
    return name.removesuffix(".weight")
