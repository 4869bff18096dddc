"""One question, or many: shows every accepted step, then the answer with its votes, values and program.

    python -m rstar_jax.launch --config=solve --config.question='What is 3 times 14 plus 2?'

Hardware: what holds the models. Without more it asks the bundled tiny base, which knows questions like those
of the embedded problems, and of these one in three. --config.run=runs/quickstart takes the policy and the
PPM of that run's best round; --config.policy=DIR (or a hub id) and --config.ppm=DIR any others, with
--config.prompt=bootstrap for a policy that was never trained on steps.

How it is searched: --config.search.strategy=beam (or another row of docs/SEARCH.md), rollouts, temperature,
max_seconds=10 and so on; Ctrl-C ends it with the best answer so far. --config.show=full prints whole steps,
--config.show=answer what was found alone. While nothing is said, standard error counts tokens and tells
what is compiled, which is kept for the next one (--compiled=DIR says where).

Many: --config.questions=FILE.jsonl, rows {question} with an id and an answer where there are such, searched
together and answered as they come; the answers are in WORKDIR/answers/answers.jsonl, and the same command
goes on where it was stopped. --config.decode.leaves=32 and rows=32 let the engine work on more at a time.
--config.json=True prints JSON alone, an event or an answer a line (docs/RUNS.md).
"""

from rstar_jax.engine import DecodeConfig
from rstar_jax.search import SearchConfig
from rstar_jax.settings import to_config_dict
from rstar_jax.solve.settings import SolveSettings


def get_config():
    return to_config_dict(
        SolveSettings(
            search=SearchConfig(rollouts=16, candidates=8, temperature=0.7),
            # A step is a comment and a few lines: 3,287 of 3,293 parts of programs that a 70B and a 34B model
            # wrote for GSM8K, most of them whole programs, have at most 256 tokens.
            decode=DecodeConfig(leaves=8, rows=8, max_step_tokens=256),
        )
    )
