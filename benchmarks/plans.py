"""The model of `--config=plan` beside published throughputs, and how cost grows; no chip, nothing compiled.

    python benchmarks/plans.py [--topology v5p:4x4x4]

First each published figure, what the model says of the same settings, and their ratio. Then plans by
arithmetic of one topology and model, each with one thing changed: problems, rollouts, the model, the chips.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from rstar_jax.errors import UserError
from rstar_jax.evolve import plan
from rstar_jax.evolve.plan_settings import PlanSettings
from rstar_jax.plan.published import PUBLISHED, Serving
from rstar_jax.topologies import parse


def published() -> None:
    print("published                      chips       figure  by the model  ratio")
    for row in PUBLISHED:
        serving = isinstance(row, Serving)
        told, unit = (row.tokens, "tokens/s") if serving else (row.tflops, "TFLOP/s")
        found = row.predicted()
        name, chips = f"{row.name}, {row.source}", f"{row.chips} x {row.chip}"
        print(f"{name:30} {chips:11} {told:6,.0f} {found:8,.0f} {unit:9} {found / told:5.2f}")


def planned(settings: PlanSettings) -> dict[str, Any] | str:
    """A plan's JSON, or why there is none."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        try:
            plan.run(dataclasses.replace(settings, compile="never"), Path(folder))
        except UserError as error:
            return str(error)
        return json.loads((Path(folder) / "plan.json").read_text())


def row(name: str, settings: PlanSettings) -> None:
    found = planned(settings)
    if isinstance(found, str):
        print(f"{name:34} {found}")
        return
    hours = [
        sum(r[stage] for r in found["rounds"]) for stage in ("search_hours", "policy_hours", "ppm_hours")
    ]
    chip_hours = sum(hours) * found["chips"]
    price = found["usd_hour"]
    cost = "" if price is None else f"{price * chip_hours:10,.0f}"
    mesh = found["trainings"][0]["mesh"]
    told = f"fsdp {mesh['fsdp']}, tensor {mesh['tensor']}; {found['search']['load']['tensor']} a model"
    print(f"{name:34} {hours[0]:8.1f} {hours[1]:7.1f} {hours[2]:7.1f} {chip_hours:10,.0f} {cost:>10}  {told}")


def growth(topology: str) -> None:
    base = PlanSettings(topology=topology)
    print(f"{topology}                         search h  policy h  PPM h     chip-h          $  devices")
    row("the paper's recipe, 7B", base)
    for problems in (74_700, 7_470_000):
        row(f"{problems:,} problems", dataclasses.replace(base, problems=problems))
    s = base.search
    twice = dataclasses.replace(
        s,
        rollouts=tuple(2 * n for n in s.rollouts),
        escalation=tuple(tuple(2 * n for n in totals) for totals in s.escalation),
    )
    row("twice the rollouts", dataclasses.replace(base, search=twice))
    more = dataclasses.replace(s, candidates=tuple(2 * n for n in s.candidates))
    row("twice the candidates", dataclasses.replace(base, search=more))
    for model in ("qwen2.5-math-1.5b", "qwen3-32b", "qwen2.5-math-72b"):
        row(model, dataclasses.replace(base, model=model))
    chip = parse(topology).chip
    threes = ("2x2x1", "2x2x4", "4x4x8", "8x8x8")
    for shape in threes if len(parse(topology).shape) == 3 else ("4x4", "8x8", "16x16"):
        row(f"{chip.name}:{shape}", dataclasses.replace(base, topology=f"{chip.name}:{shape}"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topology", default="v5p:4x4x4")
    published()
    print()
    growth(parser.parse_args().topology)


if __name__ == "__main__":
    main()
