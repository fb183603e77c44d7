"""Recipes: what is simulated, which network learns from it, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hpdp_dask.crystallography.simulate.settings import Settings
from hpdp_dask.dataflow.training.learner import TrainingSettings


@dataclass(frozen=True)
class Recipe:
    """How a model is made.

    Attributes
    ----------
    network : str
        One of `networks.NETWORKS`.
    simulation : Settings
        Of the shots, where none are given.
    training : TrainingSettings
    lattices_apart : bool, optional
        See `learner.QuadrantLearner`.
    """

    network: str
    simulation: Settings
    training: TrainingSettings
    lattices_apart: bool = False


#: `small` is for two cores and makes the model that ships with the package; `full` is for a GPU,
#: with as many images as the poster of resonet tells of (100,000 and 50,000 in its two sets).
RECIPES: Mapping[str, Recipe] = {
    "small": Recipe(
        "small",
        Settings(number=20_000, seed=1, blanks=0.25),
        TrainingSettings(epochs=5, batch=16, rate=2e-3, precision="fastest", seed=1),
        lattices_apart=True,
    ),
    "full": Recipe(
        "resnet34",
        Settings(number=100_000, seed=1, blanks=0.25),
        TrainingSettings(epochs=30, batch=128, rate=2e-3, precision="fastest", threads=12, seed=1),
    ),
}


def adapt(
    recipe: Recipe, *, network: str | None = None, seed: int | None = None, **training: object
) -> Recipe:
    """Change a recipe where something else is asked for.

    Parameters
    ----------
    recipe : Recipe
    network : str, optional
    seed : int, optional
        Of the shots and of the training.
    **training
        Of `TrainingSettings`; None leaves what the recipe says.

    Raises
    ------
    InputError
        A number makes no sense.
    """
    given = {name: value for name, value in training.items() if value is not None}
    if seed is not None:
        given["seed"] = seed
    return Recipe(
        network or recipe.network,
        recipe.simulation if seed is None else replace(recipe.simulation, seed=seed),
        replace(recipe.training, **given),  # type: ignore[arg-type]
        recipe.lattices_apart,
    )
