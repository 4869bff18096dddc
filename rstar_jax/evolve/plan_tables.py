"""A plan as tables of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rstar_jax.evolve.announce import short
from rstar_jax.plan.compiled import Compiled
from rstar_jax.plan.fit import GIB, Training
from rstar_jax.plan.texts import FRESH
from rstar_jax.report.table import Table

if TYPE_CHECKING:
    from rstar_jax.evolve.plan import Plan

_SANDBOX_S = 0.02  # of a core, for a program: between 2 ms (trivial) and 39 (sympy; docs/BENCHMARKS.md)


def tables(plan: Plan) -> list[Table]:
    found = [_memory(plan), _programs(plan), _stages(plan), _rounds(plan)]
    if plan.fitting.refusals:
        found.append(_refusals(plan))
    return [*found, _assumptions(plan)]


def _memory(plan: Plan) -> Table:
    """Memory of a device by part."""
    rows = []
    for name, parts in (
        (f"train policy: {_how(plan.policy)}", plan.policy.parts),
        (f"train PPM: {_how(plan.ppm)}", plan.ppm.parts),
        (f"search: {plan.search.load.leaves} leaves x {plan.search.load.rows} rows", plan.search.parts),
    ):
        told = ", ".join(f"{part} {size / GIB:.2f}" for part, size in parts.items() if size)
        rows.append((name, told, f"{sum(parts.values()) / GIB:.1f}", f"{plan.fitting.memory / GIB:.1f}"))
    by = "by arithmetic" if plan.uncompiled else "activations and temporaries as compiled"
    return Table(
        f"{plan.model} ({short(plan.fitting.shape.parameters)} parameters) on {plan.topology}: "
        f"{plan.topology.chips} chips, {plan.topology.hosts} hosts. GiB of a device, {by}",
        ("stage", "parts", "in all", "it has"),
        tuple(rows),
    )


def _how(t: Training) -> str:
    return f"{t.mesh}; {t.rows} rows, remat {t.remat}"


def _programs(plan: Plan) -> Table:
    """What each program sends and computes. FLOPs are from shapes, of a device."""
    devices, pace, search = plan.topology.devices, plan.fitting.pace, plan.search
    s, load = pace.shape, search.load
    settings = plan.settings
    named: list[tuple[str, Compiled | None, float]] = []
    for t in (plan.policy, plan.ppm):
        row = getattr(settings.train, t.role).seq_len
        flops = pace.train_flops(t.rows * row, row, t.remat) / devices
        named.append((f"{t.role} gradients", t.compiled, flops))
    context, longest = settings.decode.context, settings.decode.max_step_tokens
    batch = load.leaves * load.rows
    decode = load.chunk * batch * (2 * s.matrices + s.attention_flops(context)) / load.tensor
    read = 8 * context * (2 * s.matrices + s.attention_flops(context / 2)) / load.tensor
    score = 2 * min(16, load.leaves) * longest * (2 * s.matrices + s.attention_flops(context)) / load.tensor
    for name, flops in (("decode", decode), ("prefill", read), ("score", score)):
        if name != "score" or any(r.work.ppm for r in plan.rounds):
            named.append((name, search.compiled.get(name), flops))
    rows = [
        (
            name,
            f"{flops / 1e12:,.2f}",
            *(("-",) * 4 if c is None else (f"{c.arguments / GIB:.2f}", f"{c.temporaries / GIB:.2f}", str(c.kernels), _sent(c))),
        )
        for name, c, flops in named
    ]  # fmt: skip
    told = f" (nothing is compiled: {plan.uncompiled})" if plan.uncompiled else ""
    return Table(
        f"Programs, of a device; the search's at their longest{told}",
        ("program", "TFLOP", "arguments GiB", "temporaries GiB", "kernels", "collectives: calls, MB sent"),
        tuple(rows),
    )


def _sent(compiled: Compiled) -> str:
    told = [f"{kind} {c.calls}, {c.sent / 1e6:,.0f}" for kind, c in compiled.collectives.items()]
    return "; ".join(told) or "none"


def _stages(plan: Plan) -> Table:
    """Seconds of what the stages repeat."""
    rows = []
    for t in (plan.policy, plan.ppm):
        row = getattr(plan.settings.train, t.role).seq_len
        sent = None if t.compiled is None else float(t.compiled.sent)
        mesh = t.mesh
        call = plan.fitting.pace.gradients(t.rows, row, t.remat, plan.topology.devices, mesh.tensor, sent)
        rate = t.rows * row / call.total / plan.topology.chips
        told = f"products {call.products:.3f}, memory {call.memory:.3f}, collectives {call.collectives:.3f}"
        rows.append((f"{t.role}: a microbatch", f"{told}; {rate:,.0f} tokens/s a chip", f"{call.total:.3f}"))
        rows.append((f"{t.role}: an optimiser step", "all its microbatches, and the update", f"{t.step_s:.3f}"))
    for r in plan.rounds:
        e, load = r.expanding, plan.search.load
        told = f"decode {e.decode:.2f}, read {e.prefill:.2f}, score {e.score:.2f}"
        name = f"round {r.work.number}: a step of {load.leaves} leaves"
        rows.append((name, f"{told}; {load.tensor} devices", f"{e.total:.2f}"))
    return Table("Seconds by the roofline", ("what", "of which", "in all"), tuple(rows))


def _rounds(plan: Plan) -> Table:
    chips, price = plan.topology.chips, plan.usd_hour
    rows = []
    for r in plan.rounds:
        w = r.work
        rows.append(
            (
                f"round {w.number}",
                f"{w.rollouts / w.problems:.1f} x {w.candidates}",
                short(w.written),
                f"{w.rollouts / r.search_hours:,.0f}",
                f"{w.programs * _SANDBOX_S / 3600:,.0f}",
                *(f"{h:,.1f}" for h in (r.search_hours, r.policy_hours, r.ppm_hours, r.hours)),
                f"{r.hours * chips:,.0f}",
                "-" if price is None else f"{r.hours * chips * price:,.0f}",
            )
        )
    hours = sum(r.hours for r in plan.rounds)
    sums = [sum(getattr(r, n) for r in plan.rounds) for n in ("search_hours", "policy_hours", "ppm_hours")]
    total = "-" if price is None else f"{hours * chips * price:,.0f}"
    written = short(sum(r.work.written for r in plan.rounds))
    more = (f"{hours:,.1f}", f"{hours * chips:,.0f}", total)
    rows.append(("all", "", written, "", "", *(f"{h:,.1f}" for h in sums), *more))
    cost = "no price of these chips is known; give --config.usd_hour" if price is None else f"{price} $ a chip-hour ({plan.priced})"
    return Table(
        f"{plan.settings.problems:,} problems; {cost}",
        ("", "rollouts x candidates", "tokens", "trajectories/h", "sandbox core-h",
         "search h", "policy h", "PPM h", "hours", "chip-h", "$"),
        tuple(rows),
    )  # fmt: skip


def _refusals(plan: Plan) -> Table:
    rows = tuple((r.what, f"{r.needed / GIB:.1f}", r.why) for r in plan.fitting.refusals)
    return Table("What does not fit", ("what", "GiB", "who says so"), rows)


def _assumptions(plan: Plan) -> Table:
    e, a, s = plan.settings.efficiency, plan.settings.assumed, plan.settings
    solved = ", ".join(f"{share:.1%}" for share in s.solved)
    rows = [
        ("chips", f"products at {e.products:.0%} of the peak, memory at {e.memory:.0%} and links at {e.links:.0%} of their bandwidth; up to {e.hidden:.0%} of products' time hides collectives"),
        ("decoding", f"{e.filled:.0%} of rows make tokens that are used; the host looks every {plan.search.load.chunk} tokens for {e.look_s * 1e3:.0f} ms"),
        ("problems", f"prompts of {a.prompt} tokens, {a.steps} steps of {a.step:.0f}, {FRESH:.0%} of them expanded for a rollout; solved, by round: {solved}"),
        ("left out", f"evaluations, compiling, curating, checkpoints, restarts; sandboxes beside the devices at {_SANDBOX_S * 1e3:.0f} ms a program"),
        ("largest microbatch", ", ".join(f"{role} {rows} rows" for role, rows in plan.largest.items()) or "not asked for (--config.largest=True)"),
    ]  # fmt: skip
    return Table("AN ESTIMATE: no chip ran this. Assumed", ("of", "what"), tuple(rows))
