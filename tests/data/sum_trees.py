"""Small trees of sums in our steps, right and wrong ways in them, as a search leaves them; a run of them."""

from rstar_jax import curate, parquet, records
from rstar_jax.evolve.settings import RunSettings
from rstar_jax.evolve.stages import Workdir
from rstar_jax.settings import to_dict
from rstar_jax.text.grammar import CODE_STEPS
from rstar_jax.types import Node, Origin, PreferencePair, Problem, SftRow, Tree


def solution(a: int, b: int, sign: str, name: str = "x") -> list[str]:
    total = a + b if sign == "+" else a - b
    bodies = [f"# Step 1: Take both numbers\n{name} = {a} {sign} {b}", f"# Print it\nprint({name})"]
    return CODE_STEPS.render(bodies, output=str(total), answer=f"It is \\boxed{{{total}}}.")


def sum_tree(a: int, b: int, *, round: int = 1, index: int = 0, ppm: float | None = None) -> Tree:
    """Three ways of three steps from the root, the first and the last of them right, and a failed step."""
    problem = Problem(f"sum-{a}-{b}", f"What is {a} plus {b}? “Ça”\n  and so on", str(a + b), 1, "sums")
    nodes = [Node(-1, "", "ok", 0, 3, 1.0)]
    for k, (sign, name) in enumerate((("+", "x"), ("-", "difference"), ("+", "total"))):
        above, right = 0, sign == "+"
        steps = solution(a, b, sign, name)
        for depth, text in enumerate(steps, 1):
            last = depth == len(steps)
            nodes.append(
                Node(
                    above,
                    text,
                    "answer" if last else "ok",
                    depth,
                    1,
                    1.0 if right else -1.0,
                    ppm=ppm,
                    answer=str(a + b if right else a - b) if last else None,
                    grade=("right" if right else "wrong") if last else None,
                    logprob=-0.5 * depth,
                    tokens=3,
                    origin=Origin(index, above, 4, 0.7),
                    candidate=k,
                    token_ids=(k, depth, 2**31),
                )
            )
            above = len(nodes) - 1
    failed = f"\nx = 1 / 0\n{CODE_STEPS.end_step}"
    nodes.append(Node(0, failed, "exception", 1, 1, -1.0, detail="ZeroDivisionError", observation="Error: 0"))
    return Tree(problem, round, index, 3, tuple(nodes), tokens=30, finals=(3, 9), seed=7, policy="p1", ppm="")


def sum_run(root, problems: int = 5, rounds=(1, 2), shard: int = 2) -> dict[int, list[Tree]]:
    """Write a run's folder with these rounds searched and curated; the trees by round."""
    made = {r: [sum_tree(2 + i, 1 + r, round=r) for i in range(problems)] for r in rounds}
    records.write_signed(root / "config.json", to_dict(RunSettings()))
    work = Workdir(root, RunSettings())

    def search(folder, trees):
        for n, first in enumerate(range(0, problems, shard)):
            parquet.write_rows(folder / f"trees-0-{n:05d}.parquet", Tree, trees[first : first + shard])
        return {}

    def learn(folder, trees, round):
        found = curate.curate(trees, curate.CurateConfig(), round)
        parquet.write_rows(folder / "sft.parquet", SftRow, found.sft)
        parquet.write_rows(folder / "pairs.parquet", PreferencePair, found.pairs)
        return {}

    for r, trees in made.items():
        work.stage(f"round{r}/search", lambda folder, t=trees: search(folder, t))
        work.stage(f"round{r}/curate", lambda folder, t=trees, r=r: learn(folder, t, r))
    return made
