"""Choice of the models that answer: those of the options, or those that a run has trained."""

from __future__ import annotations

from pathlib import Path

from rstar_jax import weights
from rstar_jax.errors import UserError
from rstar_jax.evolve.run_models import ModelFolders, of_run
from rstar_jax.settings import home_expanded
from rstar_jax.solve.settings import SolveSettings

# By option: what looks at a folder before anything is loaded, and what is expected there.
_KINDS = {
    "policy": (weights.check_pretrained, "A policy, which writes text, is"),
    "ppm": (weights.check_reward_model, "A PPM with its value head, such as roundN/ppm/model of a run, is"),
}


def chosen(settings: SolveSettings) -> ModelFolders:
    """The models that the settings name.

    Raises UserError naming the option whose folder is not there, or holds no such model.
    """
    if settings.run:
        found = of_run(home_expanded(Path(settings.run), "config.run"))
        found.require_use(settings.search.strategy, settings.search.scores, "search.")
        return found
    policy = weights.TINY_BASE if settings.policy == "tiny" else _folder("policy", settings.policy)
    return ModelFolders(policy, _folder("ppm", settings.ppm) if settings.ppm else None, settings.ppm_value)


def _folder(option: str, spec: str) -> Path:
    path = home_expanded(Path(spec), f"config.{option}")
    check, expected = _KINDS[option]
    try:
        folder = weights.local_folder(path if path.exists() else spec)
        check(folder)
        return folder
    except weights.OtherKind as error:
        raise UserError(f"config.{option}: {error} {expected} expected.") from error
    except UserError as error:
        raise UserError(f"config.{option}: {error}") from error
