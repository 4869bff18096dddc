"""The models of a run's folder, as whoever asks or measures them is handed them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args, get_type_hints

from rstar_jax import records, weights
from rstar_jax.errors import UserError
from rstar_jax.evolve.best_round import best_round
from rstar_jax.evolve.evaluation_settings import EvaluationSettings
from rstar_jax.manifests import MANIFEST


@dataclasses.dataclass(frozen=True)
class ModelFolders:
    """The models: their folders, and whether the PPM's training compared tanh(value) or the value.

    judges_whole: the reward model is a run's ORM, which values whole solutions.
    """

    policy: Path
    ppm: Path | None
    ppm_value: str
    judges_whole: bool = False

    def require_use(self, strategy: str, scores: str, group: str = "") -> None:
        """Raise UserError where a search would ask an ORM for values of steps. group: of its options."""
        if self.judges_whole and (strategy != "best_of_n" or scores != "orm"):
            raise UserError(
                f"config.run: the reward model of this run is an ORM ({self.ppm}), which values whole "
                f"solutions and guides no search. Give --config.{group}strategy=best_of_n "
                f"--config.{group}scores=orm, or the policy alone: --config.policy={self.policy}."
            )


def of_run(run: Path) -> ModelFolders:
    """The policy, and the PPM if one could be trained, of a run's best round (`best_round.py`); of a
    warm start (`sft.py`) its policy."""
    folders = _of_warm_start(run) or _of_best_round(run)
    if folders is None or not (run / "config.json").is_file():
        raise UserError(
            f"config.run: {run} given, the folder of a run that has trained a policy and a PPM, or of a warm "
            "start that has trained its policy, expected, such as runs/quickstart after: "
            "python -m rstar_jax.launch --config=quickstart"
        )
    policy, ppm = folders
    try:
        for model in folders:
            weights.require_whole(model)
    except UserError as error:
        raise UserError(f"config.run: {error}") from error
    if not ppm.exists():
        return ModelFolders(policy, None, "tanh")
    path, instead = run / "config.json", "Give the models themselves: --config.policy=DIR --config.ppm=DIR."
    try:
        trained = records.read_signed(path)["train"]
        value = trained["ppm"]["ppm_value"]
        if value not in get_args(get_type_hints(EvaluationSettings)["ppm_value"]):
            raise ValueError(value)
    except records.Damaged as error:
        raise UserError(f"config.run: {path}: damaged ({error.why}). {instead}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"config.run: {path}: no train.ppm.ppm_value in it, the options of a run expected. {instead}"
        ) from error
    return ModelFolders(policy, ppm, value, judges_whole=trained.get("reward") == "orm")


def _of_warm_start(run: Path) -> tuple[Path, Path] | None:
    done = (run / "policy" / MANIFEST).is_file()
    return (run / "policy" / "model", run / "ppm" / "model") if done else None


def _of_best_round(run: Path) -> tuple[Path, Path] | None:
    try:
        best = best_round(run)
    except records.Damaged as error:
        raise UserError(
            f"config.run: {error.path}: damaged ({error.why}), so that the best round is not known. Give a "
            "round's models themselves: --config.policy=DIR --config.ppm=DIR."
        ) from error
    if best is None:
        return None
    round = run / f"round{best.round}"
    return round / "policy" / "model", round / "ppm" / "model"
