"""Choice of the models that answer: those of the options, or those that a run has trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args, get_type_hints

from rstar_jax import records, weights
from rstar_jax.errors import UserError
from rstar_jax.manifests import MANIFEST
from rstar_jax.settings import home_expanded
from rstar_jax.solve.settings import SolveSettings


@dataclasses.dataclass(frozen=True)
class ModelFolders:
    """The models: their folders, and whether the PPM's training compared tanh(value) or the value."""

    policy: Path
    ppm: Path | None
    ppm_value: str


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
        return of_run(home_expanded(Path(settings.run), "config.run"))
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


def of_run(run: Path) -> ModelFolders:
    """The policy, and the PPM if one could be trained, of the last round in which a run finished both; of a
    warm start (evolve/sft.py) its policy."""
    folders = _of_warm_start(run) or _of_last_round(run)
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
        value = records.read_signed(path)["train"]["ppm"]["ppm_value"]
        if value not in get_args(get_type_hints(SolveSettings)["ppm_value"]):
            raise ValueError(value)
    except records.Damaged as error:
        raise UserError(f"config.run: {path}: damaged ({error.why}). {instead}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"config.run: {path}: no train.ppm.ppm_value in it, the options of a run expected. {instead}"
        ) from error
    return ModelFolders(policy, ppm, value)


def _of_warm_start(run: Path) -> tuple[Path, Path] | None:
    done = (run / "policy" / MANIFEST).is_file()
    return (run / "policy" / "model", run / "ppm" / "model") if done else None


def _of_last_round(run: Path) -> tuple[Path, Path] | None:
    done = [
        folder
        for folder in run.glob("round[0-9]*")
        if folder.name.removeprefix("round").isdecimal()
        and all((folder / stage / MANIFEST).is_file() for stage in ("policy", "ppm"))
    ]
    if not done:
        return None
    last = max(done, key=lambda folder: int(folder.name.removeprefix("round")))
    return last / "policy" / "model", last / "ppm" / "model"
