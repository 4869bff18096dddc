"""Output without end and in no encoding; programs that are hardly text."""

from tests.sandbox.hostile.corpus.cases import Case, case

_ENDED = ("output_limit", "timeout_cpu", "timeout_wall")

CASES: list[Case] = [
    case(
        "output",
        "print_for_ever",
        "while True: print('x' * 1000)",
        *_ENDED,
        max_wall=6,
        after="next_result_intact",
    ),
    case(
        "output",
        "one_long_line",
        "print('x' * 10**8)",
        "output_limit",
        "memory",
        "exception",
        exc=["MemoryError"],
        max_wall=6,
    ),
    case("output", "many_short_lines", "for i in range(10**7): print()", *_ENDED, max_wall=6),
    case(
        "output", "os_write_for_ever", "import os\nwhile True: os.write(1, bytes(60000))", *_ENDED, max_wall=6
    ),
    case(
        "output",
        "libc_puts",
        "import ctypes\nlibc = ctypes.CDLL(None)\nwhile True: libc.puts(b'x' * 9999)",
        *_ENDED,
        max_wall=6,
    ),
    case(
        "output",
        "numpy_prints",
        "import numpy as np\nimport sys\nnp.set_printoptions(threshold=sys.maxsize)\nprint(np.zeros(10**5))",
        "output_limit",
        "timeout_cpu",
        max_wall=6,
    ),
    case("output", "exactly_the_limit", "print('x' * 65535)", "ok", stdout="x" * 65535 + "\n"),
    case("output", "one_above_the_limit", "print('x' * 65536)", "output_limit"),
    case(
        "output",
        "flood_then_exit",
        "import os\ntry: os.write(1, b'x' * 10**6)\nfinally: os._exit(113)",
        "output_limit",
        "ok",
        max_wall=3,
    ),
    case(
        "output",
        "stderr_by_descriptor",
        "import os\nfor _ in range(2000): os.write(2, b'e' * 60000)\nprint('out')",
        "ok",
        "exception",
        stdout="out\n",
        exc=["OSError", "PermissionError"],
        max_wall=6,
    ),
    case(
        "output",
        "stderr_is_not_stdout",
        "import sys\nprint('e', file=sys.stderr)\nprint('o')",
        "ok",
        stdout="o\n",
    ),
    case(
        "output",
        "report_descriptor_flood",
        """\
import os
for fd in range(2, 64):
    try:
        os.set_blocking(fd, False)
        for _ in range(50): os.write(fd, b"x" * 9999)
    except OSError:
        pass
1 / 0
""",
        "exception",
        max_wall=3,
        after="next_result_intact",
    ),
    case(
        "output",
        "report_descriptor_flood_blocking",
        """\
import os
for fd in range(3, 64):
    try:
        while True: os.write(fd, b"x" * 9999)
    except OSError:
        pass
print("end")
""",
        "ok",
        "exception",
        "timeout_wall",
        "exit",
        max_wall=6,
        after="next_result_intact",
    ),
    case(
        "output",
        "frames_as_output",
        "import os\nos.write(1, b'\\0\\0\\0\\x0a[\"ready\",{}]' * 9)",
        "ok",
        after="next_result_intact",
    ),
    case(
        "output",
        "escape_sequences",
        "print('\\x1b]0;title\\x07\\x1b[2J\\r\\b')",
        "ok",
        stdout="\x1b]0;title\x07\x1b[2J\r\b\n",
    ),
    case(
        "output",
        "exception_with_a_chain",
        """\
error = None
for i in range(10**5):
    new = ValueError("x" * 100)
    new.__context__, error = error, new
raise error
""",
        "exception",
        "memory",
        exc=["ValueError"],
        max_wall=3,
    ),
    case(
        "encoding",
        "surrogate_printed",
        "print('a\\ud800b')",
        "ok",
        "exception",
        exc=["UnicodeEncodeError"],
        after="next_result_intact",
    ),
    case(
        "encoding",
        "surrogate_in_source",
        "print('a\ud800b')",
        "exception",
        "ok",
        exc=["UnicodeEncodeError", "SyntaxError", "ValueError"],
        after="next_result_intact",
    ),
    case(
        "encoding",
        "surrogate_pair_in_source",
        "print(len('\ud83d\ude00'))",
        "exception",
        "ok",
        exc=["UnicodeEncodeError", "SyntaxError", "ValueError"],
        after="next_result_intact",
    ),
    case("encoding", "nul_printed", "print('a\\0b')", "ok", stdout="a\0b\n"),
    case("encoding", "nul_in_a_string", "print('a\0b')", "exception", exc=["ValueError", "SyntaxError"]),
    case("encoding", "only_nul", "\0", "exception", exc=["ValueError", "SyntaxError"]),
    case("encoding", "empty", "", "ok", stdout=""),
    case("encoding", "only_a_comment", "# nothing", "ok", stdout=""),
    case("encoding", "byte_order_mark_within", "x = 1\n\ufeffprint(x)", "exception", exc=["SyntaxError"]),
    case("encoding", "form_feed", "\f\nif 1:\n\f    print(1)\n", "ok", stdout="1\n"),
    case("encoding", "carriage_returns", "x = 1\rprint(x)\r", "ok", stdout="1\n"),
    case("encoding", "line_separator", "x = 1\u2028print(x)", "exception", exc=["SyntaxError"]),
    case(
        "encoding",
        "tabs_and_spaces",
        "if 1:\n        x = 1\n\tprint(x)",
        "exception",
        exc=["TabError", "IndentationError"],
    ),
    case("encoding", "identifiers_are_normalised", "\ufb01 = 1\nprint(fi)", "ok", stdout="1\n"),
    case("encoding", "wide_digits", "print(int('\uff11\uff12'))", "ok", stdout="12\n"),
    case("encoding", "right_to_left", "x = 'a\u202eb'\nprint(x)", "ok", stdout="a\u202eb\n"),
    case("encoding", "unclosed_string", "print('", "exception", exc=["SyntaxError"]),
    case("encoding", "continuation_at_the_end", "print(1)\\", "exception", exc=["SyntaxError"]),
    case(
        "encoding",
        "unknown_coding",
        "# -*- coding: nonsense -*-\nprint(1)",
        "ok",
        "exception",
        exc=["SyntaxError", "LookupError"],
    ),
    case("encoding", "future_statement", "from __future__ import annotations\nprint(1)", "ok", stdout="1\n"),
    case("encoding", "incomplete_utf8", "import os\nos.write(1, b'\\xf0\\x9f\\x98')", "ok", stdout="\ufffd"),
    case("encoding", "output_cut_within_a_character", "print('\u20ac' * 30000)", "output_limit"),
    case(
        "encoding", "million_characters", "x = '" + "a" * 10**6 + "'\nprint(len(x))", "ok", stdout="1000000\n"
    ),
    case(
        "encoding",
        "million_lines",
        "x = 1\n" * 10**5 + "print(x)",
        "ok",
        "memory",
        "timeout_cpu",
        stdout="1\n",
        max_wall=6,
    ),
    case("encoding", "million_comments", "#\n" * 10**6 + "print(1)", "ok", stdout="1\n"),
    case(
        "encoding", "escape_of_unknown_name", "print('\\N{NO SUCH NAME}')", "exception", exc=["SyntaxError"]
    ),
    case("encoding", "warning_of_the_compiler", "print('\\d', 1 is 1)", "ok", stdout="\\d True\n"),
]
