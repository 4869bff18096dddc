"""Exceptions that lie about their names, print, hang or exit when they are looked at."""

from tests.sandbox.hostile.corpus.cases import Case, case

CASES: list[Case] = [
    case(
        "forge",
        "system_exit_whose_code_hangs",
        """\
class Odd(SystemExit):
    @property
    def code(self):
        while True: pass
raise Odd()
""",
        "exit",
        "timeout_cpu",
        "timeout_wall",
        max_wall=6,
    ),
    case(
        "forge",
        "keyboard_interrupt",
        "raise KeyboardInterrupt",
        "exception",
        exc=["KeyboardInterrupt"],
        after="worker_alive",
    ),
    case(
        "forge",
        "generator_exit",
        "raise GeneratorExit",
        "exception",
        exc=["GeneratorExit"],
        after="worker_alive",
    ),
    case(
        "forge",
        "exception_group",
        "raise BaseExceptionGroup('all', [SystemExit(0), KeyboardInterrupt()])",
        "exception",
        exc=["BaseExceptionGroup"],
    ),
    case(
        "forge",
        "memory_error_raised",
        "raise MemoryError('really')",
        "memory",
        "exception",
        exc=["MemoryError"],
    ),
    # A name of a status, a line end or a quote in a name must stay a name.
    case("forge", "exception_named_ok", "raise type('ok', (Exception,), {})", "exception", exc=["ok"]),
    case(
        "forge",
        "exception_with_a_long_name",
        "raise type('E' * 10**6, (Exception,), {})",
        "exception",
        max_wall=2,
        after="next_result_intact",
    ),
    case(
        "forge",
        "exception_with_an_odd_name",
        "raise type('\\n\\0\"]\\ud800', (Exception,), {})",
        "exception",
        after="next_result_intact",
    ),
    case(
        "forge",
        "exception_whose_name_is_a_number",
        """\
class Meta(type):
    __name__ = 7
class Odd(Exception, metaclass=Meta): pass
raise Odd()
""",
        "exception",
        after="next_result_intact",
    ),
    case(
        "forge",
        "exception_whose_name_raises",
        """\
class Meta(type):
    @property
    def __name__(cls): raise SystemExit(113)
class Odd(Exception, metaclass=Meta): pass
raise Odd()
""",
        "exception",
        "exit",
        after="next_result_intact",
    ),
    case(
        "forge",
        "exception_whose_str_raises",
        """\
class Odd(Exception):
    def __str__(self): raise SystemExit(113)
raise Odd()
""",
        "exception",
        exc=["Odd"],
        after="next_result_intact",
    ),
    case(
        "forge",
        "exception_whose_str_is_no_text",
        """\
class Odd(Exception):
    def __str__(self): return 7
raise Odd()
""",
        "exception",
        exc=["Odd"],
        after="next_result_intact",
    ),
    case(
        "forge",
        "exception_whose_str_prints",
        """\
class Odd(Exception):
    def __str__(self):
        print("from str")
        return "x"
raise Odd()
""",
        "exception",
        exc=["Odd"],
        after="next_result_intact",
    ),
    case(
        "forge",
        "exception_whose_str_exits",
        """\
import os
class Odd(Exception):
    def __str__(self): os._exit(0)
raise Odd()
""",
        "exception",
        "exit",
        exc=["Odd"],
        after="next_result_intact",
    ),
    case(
        "forge",
        "message_is_a_frame",
        "raise ValueError('\\0\\0\\0\\x0a[\"ready\",{}]' * 50)",
        "exception",
        exc=["ValueError"],
        after="next_result_intact",
    ),
    case(
        "forge",
        "message_of_surrogates",
        "raise ValueError('\\ud800' * 1000 + '\\0')",
        "exception",
        exc=["ValueError"],
        after="next_result_intact",
    ),
    case(
        "forge",
        "message_of_many_bytes",
        "raise ValueError('\\N{GRINNING FACE}' * 10**6)",
        "exception",
        exc=["ValueError"],
        max_wall=2,
        after="next_result_intact",
    ),
]
