"""A plan as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rstar_jax.evolve.announce import short
from rstar_jax.plan.compiled import Compiled
from rstar_jax.plan.fit import GIB, Training
from rstar_jax.plan.texts import FRESH
from rstar_jax.report.table import Table, plain

if TYPE_CHECKING:
    from rstar_jax.evolve.plan import Plan

_SANDBOX_S = 0.02  # of a core, for a program: between 2 ms (trivial) and 39 (sympy; docs/BENCHMARKS.md)


def text(plan: Plan) -> str:
    """All tables, what does not fit, and what is assumed."""
    found = [_memory(plan), _programs(plan), _trainings(plan), _expansions(plan), _rounds(plan)]
    if plan.policy.compiled is not None:
        found.insert(2, _collectives(plan))
    parts = [plain(table) for table in found]
    if plan.fitting.refusals:
        told = (f"  {r.what}: {r.needed / GIB:.1f} GiB ({r.why})" for r in plan.fitting.refusals)
        parts.append("\n".join(["What does not fit a device", *told, ""]))
    return "\n".join([*parts, _assumptions(plan), _options(plan)])


def _options(plan: Plan) -> str:
    """Flags of rounds that are run as planned."""
    mesh, load = plan.policy.mesh, plan.search.load
    groups: list[tuple[str, dict[str, object]]] = [
        ("train.mesh", {"data": mesh.data, "fsdp": mesh.fsdp, "tensor": mesh.tensor}),
        ("train.policy", {"remat": plan.policy.remat, "microbatch": plan.policy.rows}),
        ("train.ppm", {"remat": plan.ppm.remat, "microbatch": plan.ppm.rows}),
        ("decode", {"leaves": load.leaves, "tensor": load.tensor}),
    ]
    flags = (" ".join(f"--config.{g}.{name}={value}" for name, value in each.items()) for g, each in groups)
    return "\n".join(["Rounds as planned", *(f"  {line}" for line in flags), ""])


def _memory(plan: Plan) -> Table:
    stages = {"train policy": plan.policy.parts, "train PPM": plan.ppm.parts, "search": plan.search.parts}
    names = dict.fromkeys(name for parts in stages.values() for name in parts)
    rows = [
        (name, *(f"{parts[name] / GIB:.2f}" if name in parts else "" for parts in stages.values()))
        for name in names
    ]
    rows.append(("in all", *(f"{sum(parts.values()) / GIB:.2f}" for parts in stages.values())))
    rows.append(("it has", *(f"{plan.fitting.memory / GIB:.2f}" for _ in stages)))
    by = f"by arithmetic ({plan.uncompiled})" if plan.uncompiled else "by the compiler"
    load, topology = plan.search.load, plan.topology
    title = "\n".join(
        (
            f"{plan.model}, {short(plan.fitting.shape.parameters)} parameters, on {topology}: "
            f"{topology.chips} chips, {topology.hosts} hosts",
            f"policy: {_how(plan.policy)}",
            f"PPM:    {_how(plan.ppm)}",
            f"search: {load.leaves} leaves of {load.rows} rows in each group of devices; a model lies on "
            f"{load.tensor}",
            "",
            f"GiB of a device; activations and temporaries {by}",
        )
    )
    return Table(title, ("part", *stages), tuple(rows))


def _how(t: Training) -> str:
    return f"{t.mesh}; microbatches of {t.rows} rows, remat {t.remat}"


def _programs(plan: Plan) -> Table:
    """FLOPs are from shapes, of a device; as compiled a loop's body would count once."""
    devices, search = plan.topology.devices, plan.search
    s, load, settings = plan.fitting.shape, search.load, plan.settings
    named: list[tuple[str, Compiled | None, float]] = []
    for t in (plan.policy, plan.ppm):
        row = getattr(settings.train, t.role).seq_len
        flops = plan.fitting.pace_of(t.role).train_flops(t.rows * row, row, t.remat)
        named.append((_gradients(t), t.compiled, flops / devices))
    context, longest = settings.decode.context, settings.decode.max_step_tokens
    tokens = {
        "decode": (load.chunk * load.leaves * load.rows, s.matrices),
        "prefill": (8 * context, s.insides),  # of a text the last token alone has logits
        "score": (2 * min(16, load.leaves) * longest, s.insides),
    }
    named += [
        (name, search.compiled.get(name), n * (2 * products + s.attention_flops(context)) / load.tensor)
        for name, (n, products) in tokens.items()
        if name != "score" or any(r.work.ppm for r in plan.rounds)
    ]
    rows = [(name, f"{flops / 1e12:,.1f}", *_said(c)) for name, c, flops in named]
    head = ("program", "TFLOP", "arguments GiB", "temporaries GiB", "kernels", "compiling s")
    return Table("Programs, of a device; those of the search at their longest", head, tuple(rows))


def _gradients(t: Training) -> str:
    return f"{'PPM' if t.role == 'ppm' else t.role} gradients"


def _said(c: Compiled | None) -> tuple[str, ...]:
    if c is None:
        return ("-",) * 4
    sizes = f"{c.arguments / GIB:.2f}", f"{c.temporaries / GIB:.2f}"
    return *sizes, str(c.kernels), f"{c.seconds:.0f}"


def _collectives(plan: Plan) -> Table:
    trained = {_gradients(t): t.compiled for t in (plan.policy, plan.ppm)}
    rows = [
        (f"{program}: {kind}", f"{each.calls:,}", f"{each.sent / 1e6:,.1f}")
        for program, compiled in {**trained, **plan.search.compiled}.items()
        if compiled is not None
        for kind, each in compiled.collectives.items()
    ]
    return Table("Collectives of a device, loops counted", ("program: kind", "calls", "MB sent"), tuple(rows))


def _trainings(plan: Plan) -> Table:
    """A microbatch's parts; an optimiser step is all its microbatches, and the update."""
    rows = []
    for t in (plan.policy, plan.ppm):
        row = getattr(plan.settings.train, t.role).seq_len
        sent = None if t.compiled is None else float(t.compiled.sent)
        devices = plan.topology.devices
        islands = plan.topology.islands
        pace = plan.fitting.pace_of(t.role)
        call = pace.gradients(t.rows, row, t.remat, devices, t.mesh.tensor, sent, islands)
        rate = t.rows * row / call.total / plan.topology.chips
        parts = (call.products, call.memory, call.collectives, call.total, t.step_s)
        rows.append((_gradients(t), *(f"{seconds:.3f}" for seconds in parts), f"{rate:,.0f}"))
    head = ("seconds", "products", "memory", "collectives", "a call", "a step", "tokens/s a chip")
    return Table("Trainings by the roofline", head, tuple(rows))


def _expansions(plan: Plan) -> Table:
    rows = [
        (f"round {r.work.number}", *(f"{n:.2f}" for n in (e.decode, e.prefill, e.score, e.total)))
        for r in plan.rounds
        for e in [r.expanding]
    ]
    title = f"Searches by the roofline: {plan.search.load.leaves} leaves of a group expanded once"
    return Table(title, ("seconds", "decode", "read", "score", "in all"), tuple(rows))


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
    cost = (
        "no price of these chips is known; give --config.usd_hour"
        if price is None
        else f"{price} $ a chip-hour ({plan.priced})"
    )
    return Table(
        f"{plan.settings.problems:,} problems; {cost}",
        ("", "rollouts x candidates", "tokens", "trajectories/h", "sandbox core-h",
         "search h", "policy h", "PPM h", "hours", "chip-h", "$"),
        tuple(rows),
    )  # fmt: skip


def _assumptions(plan: Plan) -> str:
    padded = " and ".join(f"{share:.0%}" for share in plan.padding)
    e, a, s = plan.settings.efficiency, plan.settings.assumed, plan.settings
    solved = ", ".join(f"{share:.1%}" for share in s.solved)
    largest = ", ".join(f"{role} {rows} rows" for role, rows in plan.largest.items())
    rows = (
        (
            "products",
            f"{e.products:.0%} of the peak; they hide collectives for up to {e.hidden:.0%} of their time",
        ),
        ("memory, links", f"{e.memory:.0%} and {e.links:.0%} of their bandwidth"),
        ("decoding", f"{e.filled:.0%} of rows make tokens that are used"),
        ("the host", f"looks every {plan.search.load.chunk} tokens, for {e.look_s * 1e3:.0f} ms"),
        ("problems", f"prompts of {a.prompt} tokens, {a.steps} steps of {a.step:.0f}"),
        (
            "trees",
            f"{a.rows} solutions of a solved problem share its prompt, {a.pairs} pairs a way to the middle",
        ),
        ("padding", f"{padded} of what trainings of policy and PPM compute, with what cuts repeat"),
        ("rollouts", f"{FRESH:.0%} of the steps expanded for one; solved, by round: {solved}"),
        ("sandboxes", f"beside the devices, {_SANDBOX_S * 1e3:.0f} ms of a core for a program"),
        ("left out", "evaluations, compiling, curating, checkpoints, restarts"),
        ("largest microbatch", largest or "not looked for (--config.largest=True does)"),
    )
    return "\n".join(
        ["AN ESTIMATE: no chip ran this. Assumed", *(f"  {of}: {what}" for of, what in rows), ""]
    )
