"""Differences between the paper's search and that of the authors' released code.

Where arXiv 2501.04519 is silent both do as the released code does. They differ here; `reference_code` takes
all rules of the right column, `reference_rules` some by name, which measures each by itself:

| name | of what | paper | released code |
|---|---|---|---|
| `answer_alone` | answers in one expansion | the first stays, with other steps | the first stays alone |
| `answers_at_once` | an answer is backed up | when a rollout reaches it | when made, all of an expansion |
| `extra_depth` | the deepest step | `max_depth`, must answer | one more |
| `lazy_closing` | a node of closed children | closes at once, then ancestors | when a rollout ends at it |
| `short_first` | a rollout from a bare root | goes on to its end | stops after `max_depth` steps |

`short_first` shows beside `extra_depth` alone: else no rollout stands so deep.

Of the paper's own rules these have flags: `first_visit=False` (the PPM's value of a new step is no visit),
`drop_repeats=False`, `unvisited="first"`, `c`.
"""

from __future__ import annotations

from collections.abc import Set

REFERENCE_RULES = ("answer_alone", "answers_at_once", "extra_depth", "lazy_closing", "short_first")


def rules(reference_code: bool, names: tuple[str, ...]) -> Set[str]:
    """The rules of the released code that a search follows."""
    return frozenset(REFERENCE_RULES if reference_code else names)
