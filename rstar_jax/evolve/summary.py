"""WORKDIR/report.json, put together from the manifests of whatever stages are done."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rstar_jax import manifests, records
from rstar_jax.evaluate.outcome import Evaluation
from rstar_jax.evolve.best_round import HeldOutShares, choose
from rstar_jax.evolve.kept import estimated, sources_of
from rstar_jax.evolve.settings import STAGE_NAMES
from rstar_jax.report import results, sections
from rstar_jax.report.results import CurateResult, EvaluateResult, SearchResult, TrainResult

_CLOCKS = ("device", "device_awaited", "sandbox", "sandbox_awaited")  # of `sections.StageTimes`


def collect(root: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a working directory (`sections.RunReport`), as JSON takes it.

    options: those of the run, as its config.json has them. What was not done is None or absent. Seconds of a
    stage are wall seconds of the process that finished it.
    """
    rounds, stages, files, models = list[sections.Round](), [], {}, dict[int, dict[str, str]]()
    base = _manifest(root, "base", "evaluate")
    manifests = [base]
    if base:
        stages.append(stage_times(base))
    for folder in sorted(
        (p for p in root.glob("round*") if p.name[5:].isdecimal()), key=lambda p: int(p.name[5:])
    ):
        done = {stage: m for stage in STAGE_NAMES if (m := _manifest(root, folder.name, stage))}
        stages += [stage_times(m) for m in done.values()]
        manifests += done.values()
        if "curate" in done:
            found = {stage: results.of_json(results.KINDS[stage], m["result"]) for stage, m in done.items()}
            rounds.append(_round(int(folder.name[5:]), found))
            files.update(_files(folder, done))
            models[rounds[-1].round or 0] = _models(folder, done)
    files["report"] = str(root / "report.json")
    stages, estimates = estimated(root, stages)
    sources = sources_of(root)
    best = _best(rounds, sources)
    report = sections.RunReport(
        sources=sources,
        best=best,
        base=_base(results.of_json(EvaluateResult, base["result"])) if base else sections.Base(),
        layers=_layers(m for m in manifests if m),
        rounds=tuple(rounds),
        stages=stages,
        estimates=estimates,
        folder=str(root),
        models=_named(models, best),
        files=files,
        **_whole(options, stages),
    )
    return results.to_json(report)


def _best(
    rounds: Sequence[sections.Round], sources: Mapping[str, sections.Source]
) -> sections.BestRound | None:
    """The round whose models are the run's, of those that have made both."""
    made = {
        r.round: None if r.policy_pass1 is None else HeldOutShares(r.policy_pass1, r.search_accuracy)
        for r in rounds
        if r.round is not None and r.policy_training is not None and r.ppm_training is not None
    }
    heldout = sources.get("heldout")
    return choose(made, heldout.problems if heldout else None)


def _named(models: Mapping[int, dict[str, str]], best: sections.BestRound | None) -> dict[str, str]:
    """Those of the best round; as long as there is none, the newest."""
    if best is not None and best.round is not None:
        return models[best.round]
    return next((found for _, found in sorted(models.items(), reverse=True) if found), {})


def collect_warm_start(root: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a warm start's working directory (`sections.WarmStartReport`; evolve/sft.py)."""
    names = {"rows": ("rows",), "base": ("base", "evaluate"), "policy": ("policy",), "after": ("evaluate",)}
    done = {name: m for name, parts in names.items() if (m := _manifest(root, *parts))}
    kinds = {"rows": "rows", "base": "base", "policy": "policy", "after": "evaluate"}
    found = {name: results.of_json(results.KINDS[kinds[name]], m["result"]) for name, m in done.items()}
    stages, _ = estimated(root, [stage_times(m) for m in done.values()])
    files = {"solutions": root / "rows" / "sft.parquet", "policy (Hugging Face)": root / "policy" / "model"}
    files["report"] = root / "report.json"
    report = sections.WarmStartReport(
        sources=sources_of(root),
        base=sections.Alone(**_alone(found.get("base"))),
        warm_start=sections.WarmStart(
            rows=found.get("rows") and results.to_json(found["rows"]),
            policy_training=_trained(found.get("policy")),
            heldout_tokens=(policy := found.get("policy")) and policy.heldout_tokens,
            **_alone(found.get("after")),
            samples=options.get("samples"),
        ),
        layers=_layers(done.values()),
        stages=stages,
        folder=str(root),
        models={"policy": "policy/model"} if "policy" in done else {},
        files={name: str(path) for name, path in files.items() if path.exists() or name == "report"},
        **_whole(options, stages),
    )
    return results.to_json(report)


def collect_ppm(root: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a training of a PPM alone (`sections.PpmReport`; evolve/ppm.py)."""
    names = ("pairs", "ppm", "compare", "evaluate")
    done = {name: m for name in names if (m := _manifest(root, name))}
    found = {name: results.of_json(results.KINDS[name], m["result"]) for name, m in done.items()}
    stages, _ = estimated(root, [stage_times(m) for m in done.values()])
    compared, evaluated = found.get("compare"), found.get("evaluate")
    alone, searched = (evaluated.policy_pass1, evaluated.search_accuracy) if evaluated else (None, None)
    files = {"pairs": root / "pairs", "ppm (Hugging Face)": root / "ppm" / "model"}
    files["report"] = root / "report.json"
    report = sections.PpmReport(
        sources=sources_of(root),
        ppm=sections.Ppm(
            pairs=found.get("pairs") and results.to_json(found["pairs"]),
            ppm_training=_trained(found.get("ppm")),
            compared=compared and compared.pairs,
            pair_accuracy=compared and compared.accuracy,
            pair_order=compared,
            heldout_order=evaluated and evaluated.order,
            policy_pass1=alone and alone["all"],
            policy_pass1_by_level=alone,
            search_accuracy=searched and searched["all"],
            search_accuracy_by_level=searched,
            steps=evaluated and evaluated.policy_steps,
            failures=evaluated and evaluated.policy_failures,
            ungraded=evaluated.policy_ungraded + evaluated.search_ungraded if evaluated else 0,
            unknown_steps=evaluated and evaluated.unknown_steps,
            note=evaluated and evaluated.note,
        ),
        layers=_layers(done.values()),
        stages=stages,
        folder=str(root),
        models={"ppm": "ppm/model"} if "ppm" in done else {},
        files={name: str(path) for name, path in files.items() if path.exists() or name == "report"},
        **_whole(options, stages),
    )
    return results.to_json(report)


def collect_evaluation(
    root: Path, options: Mapping[str, Any], evaluation: Evaluation, done: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The report of an evaluation's working directory (`sections.EvaluationReport`; evolve/evaluation.py).

    done: the manifests of its benchmarks.
    """
    stages, _ = estimated(root, [stage_times(m) for m in done])
    files = {m["name"].rpartition("/")[2]: str(root / m["name"] / "predictions.parquet") for m in done}
    report = sections.EvaluationReport(
        sources=sources_of(root),
        evaluation=evaluation,
        layers=_layers(done),
        stages=stages,
        folder=str(root),
        files={**files, "evaluation": str(root / "evaluation.json"), "report": str(root / "report.json")},
        **_whole(options, stages),
    )
    return results.to_json(report)


def _alone(result: EvaluateResult | None) -> dict[str, Any]:
    """Fields of `sections.Alone` from an evaluation; none where there was none."""
    if result is None:
        return {}
    shares, sampled = result.policy_pass1, result.search_accuracy or {}
    return {
        "policy_pass1": shares.get("all"),
        "policy_pass1_by_level": shares or None,
        "answered": result.policy_answered,
        "steps": result.policy_steps,
        "failures": result.policy_failures,
        "deaths": result.policy_failures,
        "majority": sampled.get("all"),
        "majority_by_level": sampled or None,
        "pass_at_k": result.search_solved,
        "ungraded": result.policy_ungraded + result.search_ungraded,
        "unknown_steps": result.unknown_steps,
    }


def _trained(result: TrainResult | None) -> dict[str, Any] | None:
    """A training's figures, as far as it has them."""
    return None if result is None else {k: v for k, v in results.to_json(result).items() if v is not None}


def _whole(options: Mapping[str, Any], stages: Sequence[sections.StageTimes]) -> dict[str, Any]:
    """Figures of all stages together."""
    return {
        "seed": options.get("seed"),
        "config": dict(options),
        "seconds": round(sum(stage.seconds or 0.0 for stage in stages), 3),
        "peak_mb": max((stage.peak_mb or 0 for stage in stages), default=0),
        "peak_children_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }


_NOT_REPEATED = (
    *(
        "seconds",
        "mfu",
        "peak_mb",
        "peak_children_mb",
        "engine",
        "served",
        "compiled",
        "stages",
        "estimates",
        "layers",
        "device",
        "device_awaited",
    ),
    *("folder", "models", "files"),
)


def figures(report: Any) -> Any:
    """A report without times, memory, layers and paths: what the same seed gives again, exactly."""
    if isinstance(report, dict):
        return {key: figures(value) for key, value in report.items() if key not in _NOT_REPEATED}
    return [figures(value) for value in report] if isinstance(report, list) else report


def _base(result: EvaluateResult) -> sections.Base:
    return sections.Base(policy_pass1=result.policy_pass1["all"], policy_pass1_by_level=result.policy_pass1)


def _round(number: int, done: dict[str, Any]) -> sections.Round:
    curated: CurateResult = done["curate"]
    search: SearchResult | None = done.get("search")
    evaluated: EvaluateResult | None = done.get("evaluate")
    policy, ppm = done.get("policy"), done.get("ppm")
    alone = evaluated.policy_pass1 if evaluated else None
    searched = evaluated.search_accuracy if evaluated else None
    told = (curated, policy, ppm, evaluated)
    return sections.Round(
        round=number,
        problems=search and search.problems,
        coverage=curated.coverage,
        policy_pass1=alone["all"] if alone else None,
        policy_pass1_by_level=alone,
        search_accuracy=searched["all"] if searched else None,
        search_accuracy_by_level=searched,
        trajectories=curated.trajectories,
        steps=curated.steps,
        tokens=curated.tokens,
        sft_rows=curated.sft_rows,
        pairs=curated.pairs,
        difficulty=curated.difficulty,
        failures=curated.failures,
        deaths=curated.failures,
        ungraded=curated.ungraded,
        unknown_steps=curated.unknown_steps,
        ungradable=curated.ungradable,
        suspects=curated.suspects,
        heldout_ungraded=evaluated and evaluated.policy_ungraded + evaluated.search_ungraded,
        heldout_cut_off=evaluated and evaluated.search_cut_off,
        heldout_unknown_steps=evaluated and evaluated.unknown_steps,
        dropped=curated.dropped,
        policy_training=_trained(policy),
        ppm_training=_trained(ppm),
        ppm_pair_accuracy=ppm and ppm.pair_accuracy,
        heldout_order=evaluated and evaluated.order,
        heldout_tokens=policy and policy.heldout_tokens,
        note="; ".join(result.note for result in told if result is not None and result.note),
    )


def _layers(manifests: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Layers of the sandbox in the last stage that ran any program."""
    told = [m["result"]["layers"] for m in manifests if m["result"].get("layers")]
    return told[-1] if told else {}


def stage_times(manifest: dict[str, Any]) -> sections.StageTimes:
    """A stage's time, of its wall time (`sections.StageTimes`)."""
    result, stage, wall = manifest["result"], manifest["name"].rpartition("/")[2], manifest["seconds"]
    if stage in ("policy", "ppm"):
        busy = {"training": result.get("seconds", 0.0)}
        clocks = {name: result.get(name) for name in ("device", "device_awaited")}
        clocks |= dict.fromkeys(("sandbox", "sandbox_awaited"), None if clocks["device"] is None else 0.0)
    else:
        busy = result.get("seconds", {})
        clocks = {name: busy.get(name) for name in _CLOCKS}
        if stage == "curate":  # which asks neither
            clocks = dict.fromkeys(_CLOCKS, 0.0)
    kinds = {kind: busy.get(kind, 0.0) for kind in ("decode", "execution", "ppm", "training")}
    if clocks["sandbox"] is None:
        left = wall - sum(kinds.values())
    else:
        left = wall - (clocks["device_awaited"] or 0.0) - (clocks["sandbox_awaited"] or 0.0)
    compiled = manifest.get("compiled")  # not in those of earlier versions
    return sections.StageTimes(
        name=manifest["name"],
        seconds=wall,
        **clocks,
        **kinds,
        host=max(0.0, round(left, 3)),
        peak_mb=manifest["peak_mb"],
        tokens=result.get("tokens"),
        compiled=compiled and results.of_json(sections.Compiled, compiled),
        note=result.get("rereading", ""),
        served=result.get("served") or None,
    )


def _files(folder: Path, done: dict[str, Any]) -> dict[str, str]:
    name = folder.name
    files = {
        f"{name} trajectories": str(folder / "search"),
        f"{name} solutions": str(folder / "curate" / "sft.parquet"),
        f"{name} preference pairs": str(folder / "curate" / "pairs.parquet"),
    }
    for kind, path in _models(folder, done).items():
        files[f"{name} {kind} (Hugging Face)"] = str(folder.parent / path)
    return files


def _models(folder: Path, done: dict[str, Any]) -> dict[str, str]:
    """Paths of a round's models in the run's folder."""
    made = (stage for stage in ("policy", "ppm") if stage in done and (folder / stage / "model").exists())
    return {stage: f"{folder.name}/{stage}/model" for stage in made}


def _manifest(root: Path, *parts: str) -> dict[str, Any] | None:
    path = root.joinpath(*parts, manifests.MANIFEST)
    if not path.exists():
        return None
    try:
        return manifests.read(path)
    except records.Damaged as error:  # of a round that this run had no need of
        logging.warning("%s It is left out of the report.", error)
        return None
