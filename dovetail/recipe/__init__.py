"""How a model is changed: recipes are ordered lists of methods, and each method is one file under `methods`."""

from dovetail.recipe.recipe import Applied, Recipe

__all__ = ["Applied", "Recipe"]
