"""What a case is: a hostile snippet and what must become of it."""

from __future__ import annotations

from typing import Any

Case = dict[str, Any]


def case(category: str, name: str, code: str, *status: str, **expect: Any) -> Case:
    """One case in the format of the published ones.

    status: the statuses allowed. expect: exc (exception types allowed when the status is exception), stdout
    (exact), stdout_any (one of), not_stdout (must not occur), max_wall (seconds), after (worker_alive,
    next_result_intact, no_orphans, no_file:PATH, same_stdout_twice, probe:CODE=>OUT).
    """
    return {"name": name, "category": category, "code": code, "expect": {"status": list(status), **expect}}
