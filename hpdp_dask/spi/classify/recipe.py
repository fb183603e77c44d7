"""How features or pictures were made, and whether a model learnt from the like."""

from __future__ import annotations

from typing import Any

import xarray as xr

from hpdp_dask.errors import InputError
from hpdp_dask.spi.classify.model import Model, digest_of
from hpdp_dask.spi.classify.pictures import PictureMaker


def recipe_of_features(stack: xr.Dataset) -> dict[str, Any] | None:
    """Say how the features of a stack were made.

    Parameters
    ----------
    stack : xarray.Dataset
        As `open_frames` gives it.

    Returns
    -------
    dict or None
        The recipe that the stack's history tells of, and the number of features; None if the
        stack has no features, as where they are computed on the way.
    """
    if "features" not in stack:
        return None
    told: dict[str, Any] = {}
    for entry in stack.attrs.get("history", []):
        if "features" in entry.get("added", []):
            told = entry.get("recipe", {})
    return {**told, "kind": "features", "number": stack.sizes["feature"]}


def check_recipe(model: Model, stack: xr.Dataset, pictures: PictureMaker | None) -> None:
    """Check that a model learnt from features, or pictures, like those of a stack.

    Raises
    ------
    InputError
        It did not: names what differs.
    """
    recipe = recipe_of_features(stack) if pictures is None else pictures.recipe
    if recipe is None or digest_of(recipe) == model.digest:
        return
    different = [
        f"{name} {_spoken(recipe.get(name))} and not {_spoken(model.recipe.get(name))}"
        for name in sorted({*recipe, *model.recipe})
        if recipe.get(name) != model.recipe.get(name)
    ]
    what, remedy = (
        ("features", "compute them as the model's were, with hpdp spi features")
        if pictures is None
        else ("pictures", "take frames of the same detector")
    )
    raise InputError(
        f"{stack.attrs.get('path', 'the frames')}: the model was trained on other {what} (here "
        f"{', '.join(different)}); {remedy}, or train a new model."
    )


def _spoken(value: Any) -> str:
    return "none" if value is None else str(value)
