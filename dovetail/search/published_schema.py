"""The JSON Schema of a space file, for editors: the templates of hardware with their parameters and choices."""

from __future__ import annotations

from typing import Any

from dovetail.hardware.templates.template import TEMPLATES, Choice, Parameter


def json_schema() -> dict[str, Any]:
    """The schema of a space in YAML (JSON Schema, draft 2020-12)."""
    from dovetail.search.schema import SpaceFile

    schema = SpaceFile.model_json_schema()
    machines, recipes = schema["properties"]["machines"], schema["properties"]["recipes"]
    machines["items"] = {"anyOf": [{"type": "string"}, *(_template(name) for name in TEMPLATES)]}
    recipes["items"] = {"anyOf": [{"type": "string"}, *_RECIPES]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


_BITS = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}, "minItems": 1}]}
_RECIPES: list[dict[str, Any]] = [
    {
        "type": "object", "title": "recipe", "required": ["methods"], "additionalProperties": False,
        "properties": {"name": {"type": "string"}, "methods": {"type": "array", "minItems": 1}},
    },
    {
        "type": "object", "title": "bits by group of layers", "required": ["method", "bits"],
        "properties": {
            "method": {"type": "string"}, "name": {"type": "string"},
            "bits": {"type": "object", "additionalProperties": _BITS, "minProperties": 1},
        },
    },
]  # fmt: skip


def _template(name: str) -> dict[str, Any]:
    kind = TEMPLATES[name]
    given = {p.name: _parameter(p) for p in kind.parameters} | {c.name: _choice(c) for c in kind.choices}
    return {
        "type": "object", "title": name, "description": kind.words, "required": ["template"],
        "additionalProperties": False,
        "properties": {"template": {"const": name}, "name": {"type": "string"}, **given},
    }  # fmt: skip


def _parameter(p: Parameter) -> dict[str, Any]:
    value: dict[str, Any] = {"type": ["string", "number"], "examples": [p.show(p.default)]}
    ranged = {"from": value, "to": value, "steps": {"type": ["integer", "string"]}, "by": value}
    form = {"type": "object", "required": ["from", "to"], "additionalProperties": False, "properties": ranged}
    return {
        "description": f"{p.words}; {p.show(p.least)} to {p.show(p.most)}",
        "anyOf": [value, {"type": "array", "items": value, "minItems": 1}, form],
    }


def _choice(c: Choice) -> dict[str, Any]:
    one = {"enum": list(c.options)}
    return {"description": c.words, "anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
