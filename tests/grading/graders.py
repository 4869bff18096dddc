"""What to ask of a grader's processes."""

SQUARE_ROOT = (r"\sqrt{20}", r"2\sqrt{5}")
ENDLESS = r"\sum_{k=1}^{10^{12}} k^{k}"  # neither a closed form nor an end
