"""Labels of steps are by the sign of their Q, of graded trajectories alone."""

from rstar_jax.data import formats
from rstar_jax.data.authors import Frame
from rstar_jax.tasks import MathTask


def test_a_step_is_right_where_more_right_answers_than_wrong_ones_are_below_it():
    row = {"question": "1?", "steps": ["a", "b", "c"], "q": [0.25, 0.0, -0.25], "grade": "wrong"}
    table = formats.stepwise([row, {**row, "grade": "ungraded"}], Frame.of(MathTask()))
    assert table.to_pylist() == [
        {
            "prompt": MathTask().prompt("1?", "ppm"),
            "completions": ["a", "b", "c"],
            "labels": [True, False, False],
        }
    ]
