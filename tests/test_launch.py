"""The one way in: configs by name, dotted overrides, errors for people."""

import os
import subprocess
import sys

import pytest
from ml_collections import ConfigDict

from rstar_jax import __main__ as package
from rstar_jax import launch
from rstar_jax.errors import UserError
from rstar_jax.evolve.settings import RunSettings, at_round
from rstar_jax.launch import command, explain
from rstar_jax.launch.configs import config_of, known
from rstar_jax.launch.jobs import settings_of
from rstar_jax.settings import from_config


def run(capsys, *arguments):
    status = launch.main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def config_file(
    tmp_path, body="job='evolve', seed=0, search=dict(rollouts=(8, 16), c=2.0), problems=dict(train='240')"
):
    path = tmp_path / "mine.py"
    path.write_text(
        f"from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict(dict({body}))\n"
    )
    return str(path)


def test_help_lists_the_configs_with_their_first_lines(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for name in ("quickstart", "round1", "round4", "pretrain_tiny"):
        assert name in out
    assert "All four rounds on a CPU" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--config=quickstrat",), "Did you mean 'quickstart'"),
        (("--config=nowhere.py",), "no such file"),
        (("--config=round3", "--config.search.rolouts=3"), "Did you mean 'rollouts'"),
        (("--config=round3", "--config.serach.rollouts=3"), "Did you mean 'search'"),
        (("--config=round3", "--config.search=3"), "a group of options"),
        (("--config=round3", "--config.search.rollouts.x=3"), "is an option, not a group"),
        (("--config=round3", "--config.seed=abc"), "--config.seed=abc"),
        (("--config=round3", "--config.search.rollouts=abc"), "config.search.rollouts: 'abc' given, a whole"),
        (("--config=round3", "--config.search.rollouts=(8,three)"), "'(8,three)' given, a whole number"),
        (("--config=round3", "--config.search.prompt=boot"), "'boot' given, one of 'bootstrap', 'finetuned'"),
        (
            ("--config=round3", "--workdir=ftp://host/run"),
            "--workdir: ftp://host/run: a local path or a URL expected",
        ),
        (("--config=round3", "--compiled=ftp://host/c"), "--compiled: ftp://host/c: a local path or a URL"),
        (("--config=quickstart", "--config.decode.tensor=3"), "config.decode.tensor: 3 given"),
        (("--config=round3", "--config.search.rollouts=0"), "1 or more expected"),
        (("--config=round3", "--config.rounds=(2,1)"), "config.rounds: (2, 1)"),
        (("--config=round3", "--config.search.escalation=((64, 32),)"), "rising totals"),
        (("--workdri=x", "--config=round3"), "Did you mean '--workdir'"),
        (("--config=",), "no value given"),
        (("--config=round3", "--workdir", "--config.seed=1"), "'--config.seed=1' follows"),
        (("quickstart",), "Did you mean --config=quickstart?"),
        (("--config=round3", "--seed=1"), "--config.GROUP.OPTION=VALUE"),
        (("--config=round3", "--config.seed=1.5"), "'1.5' given, a whole number expected"),
        (("--config=round3", "--config.seed=-1"), "config.seed: -1"),
        (
            ("--config=round3", "--config.search.reference_code=maybe"),
            "'maybe' given, true or false expected",
        ),
        (("--config=round3", "--config.train.ppm.remat=True"), "one of 'none', 'dots', 'full' expected"),
        (("--config=round3", "--config.search.c=nan"), "config.search.c: nan (float) given, a finite number"),
        (("--config=round3", "--config.search.c=-1"), "config.search.c: -1.0"),
        (("--config=round3", "--config.search.temperature=1e999"), "config.search.temperature: inf given"),
        (("--config=round3", "--config.search.rollouts=1.5"), "1.5 given, a whole number"),
        (("--config=round1", "--config.problems.train=0"), "config.problems.train: 0 given"),
        (("--config=round3", "--config.train.policy.b1=2"), "train.b1: 2.0"),
        (("--config=round3", "--config.train.policy.eps=0"), "train.eps: 0.0"),
        (("--config=round3", "--config.problems.train=\udce9"), "not UTF-8"),
        (("--config=round3", "--workdir=~nobody-of-this-name/w"), "no such user"),
        (
            ("--config=round3", "--config.verify.workers=100000"),
            "config.verify.workers: 100000 given, 1024 or",
        ),
        (("--config=round3", "--config.verify.workers=0"), "config.verify.workers: 0 given, 1 or more"),
        (
            ("--config=round3", "--config.verify.cpu_s=1e9"),
            "config.verify.cpu_s: 1000000000.0 given, 3600 or",
        ),
        (("--config=round3", "--config.verify.cpu_s=-1"), "config.verify.cpu_s: -1.0 given"),
        (("--config=round3", "--config.verify.wall_s=nan"), "config.verify.wall_s: nan"),
        (("--config=round3", "--config.verify.memory_mb=0"), "config.verify.memory_mb: 0 given"),
        (("--config=round3", "--config.verify.memory_mb=9999999"), "config.verify.memory_mb: 9999999 given"),
        (("--config=round3", "--config.verify.output_kb=9999999"), "config.verify.output_kb: 9999999 given"),
        (("--config=round3", "--config.verify.grading=lenient"), "config.verify.grading: 'lenient' given"),
        (
            ("--config=round3", "--config.verify.task=code", "--config.verify.grading=released"),
            "config.verify.grading: 'released' given, of task code: strict",
        ),
        (
            ("--config=round3", "--config.verify.task=cooking"),
            "config.verify.task: 'cooking' given, one of math",
        ),
        (("--config=round3", "--config.verify.sandbox.without=landlok"), "without: 'landlok' given, one of"),
        (("--config=round3", "--config.verify.sandbox.bublewrap=1"), "Did you mean 'bubblewrap'"),
        (("--config=quickstart", "--config.verify.task=code"), "answer: '"),
    ],
)
def test_bad_command_lines_say_what_to_do(capsys, tmp_path, flags, message):
    status, _, err = run(capsys, f"--workdir={tmp_path / 'w'}", *flags)
    assert status == 2
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("number", "values"),
    [  # rollouts, escalation, candidates, trees, temperature, PPM, prompt: METHOD's table
        (1, (8, (), 5, 1, 0.7, False, "bootstrap")),
        (2, (16, (32,), 8, 1, 1.0, False, "finetuned")),
        (3, (16, (32,), 8, 1, 1.0, True, "finetuned")),
        (4, (16, (64, 128), 16, 2, 1.0, True, "finetuned")),
    ],
)
def test_the_rounds_have_the_papers_values(number, values):
    settings = from_config(RunSettings, launch.load(f"round{number}").get_config().to_dict())
    names = ("rollouts", "escalation", "candidates", "trees", "temperature", "ppm", "prompt")
    assert settings.rounds == (number,)
    assert tuple(at_round(getattr(settings.search, name), number) for name in names) == values
    assert settings.policy.dtype == "bfloat16" and settings.train.policy.remat
    same = launch.load("round1").get_config()
    same.rounds = (number,)
    assert settings == from_config(RunSettings, same.to_dict())  # else a workdir would refuse its next round


def test_overrides_reach_the_config(tmp_path):
    config = launch.load(config_file(tmp_path)).get_config()
    flags = ["--config.search.rollouts=64", "--config.search.c=1", "--config.problems.train=40"]
    changed = launch.override(config, flags)
    assert changed.search.rollouts == (64,)
    assert changed.search.c == 1.0
    assert changed.problems.train == "40"


def test_more_rollouts_than_the_escalation_leave_it_out():
    config = launch.override(launch.load("round4").get_config(), ["--config.search.rollouts=64"])
    search = from_config(RunSettings, config.to_dict()).search
    assert (at_round(search.rollouts, 4), search.totals(4)) == (64, (128,))
    assert search.totals(3) == ()


def test_flag_files_and_absls_own_flags(capsys, tmp_path):
    (tmp_path / "flags").write_text("# mine\n--config=round3\n--config.search.rollouts=2.5\n--verbosity=0\n")
    status, _, err = run(capsys, f"--flagfile={tmp_path / 'flags'}")
    assert status == 2 and "config.search.rollouts" in err
    assert command.FLAGS.verbosity == 0
    run(capsys, "--help")
    assert command.FLAGS.verbosity == -1  # of the line before nothing stays


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--flagfile=/nowhere/of/this/name",), "--flagfile: Unable to open flagfile"),
        (("--verbosity=loud",), "--verbosity=loud"),
        (("--jax_debug_nans=perhaps",), "--jax_debug_nans=perhaps"),
        (("--jax_debug_nanz",), "Did you mean '--jax_debug_nans'"),
        (("--config=round3:x",), "takes none: leave it out"),
    ],
)
def test_bad_flags_of_absl_and_jax_are_told_as_ours_are(capsys, flags, message):
    status, _, err = run(capsys, *flags)
    assert status == 2
    assert message in err and err.startswith("error: ")


def test_flags_of_jax_reach_jax(tmp_path):
    code = (
        "import sys, jax; from rstar_jax import launch\n"
        "launch.JOBS['evolve'] = lambda config: lambda workdir: print(jax.config.jax_debug_nans, workdir)\n"
        f"flags = ['--config={config_file(tmp_path)}', '--jax_debug_nans', '--compiled=none']\n"
        "sys.exit(launch.main(flags))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["True", "runs/mine"], ended.stderr


def test_a_config_is_handed_its_text(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config(text):\n    return ConfigDict({'job': 'evolve', 'seed': int(text)})\n"
    )
    assert config_of(f"{path}:7").seed == 7
    with pytest.raises(UserError, match="needs one"):
        config_of(str(path))


def test_the_full_help_has_the_flags_of_absl_and_jax(capsys):
    status, out, _ = run(capsys, "--helpfull")
    assert status == 0
    for flag in ("--config", "--workdir", "--flagfile", "--verbosity", "jax_debug_nans"):
        assert flag in out


@pytest.mark.parametrize("name", known())
def test_the_help_of_a_config_says_every_option_in_a_sentence(name):
    config = config_of(name)
    told = {option: (value, text) for option, value, text in explain.options(config, settings_of(config.job))}
    dotted = {key for key, _ in flat(config)} - {"job"}
    assert set(told) == dotted
    for option, (_, text) in told.items():
        assert len(text) >= 12, f"{option}: {text!r}"
        assert "as in `" not in text, f"{option}: {text!r}"


def flat(config, where=""):
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from flat(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value


def test_the_help_of_a_config_shows_its_own_values(capsys):
    status, out, _ = run(capsys, "--config=quickstart", "--help")
    assert status == 0
    assert "  search.rollouts = (4, 6, 6, 8)\n" in out
    assert "  decode.context = 384\n      longest prefix and step together" in out


def test_the_package_says_what_to_call(capsys):
    assert package.main([]) == 0
    assert "python -m rstar_jax.launch --help" in capsys.readouterr().out
    assert package.main(["--config=solve", "--config.question=a b"]) == 2
    assert "rstar_jax.launch --config=solve '--config.question=a b'" in capsys.readouterr().err


def test_an_unknown_job_is_named(capsys, tmp_path):
    status, _, err = run(capsys, f"--config={config_file(tmp_path, 'job=chr(120)')}")
    assert status == 2
    assert "its job is 'x'" in err


def test_a_config_without_get_config_is_named(capsys, tmp_path):
    (tmp_path / "empty.py").write_text("x = 1\n")
    status, _, err = run(capsys, f"--config={tmp_path / 'empty.py'}")
    assert status == 2
    assert "has no function get_config" in err


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def get_config(:", "failed in line 1: SyntaxError"),
        ("import nothing_of_this_name", "failed in line 1: ModuleNotFoundError"),
        ("def get_config():\n    1 / 0", "failed in line 2: ZeroDivisionError"),
        ("def get_config(): return {'job': 'evolve'}", "gave a dict, a ConfigDict expected"),
    ],
)
def test_a_config_that_fails_is_named_with_its_line(capsys, tmp_path, body, message):
    (tmp_path / "mine.py").write_text(body + "\n")
    status, _, err = run(capsys, f"--config={tmp_path / 'mine.py'}")
    assert status == 2
    assert message in err


def test_of_an_option_given_twice_the_last_holds(tmp_path):
    config = launch.load(config_file(tmp_path)).get_config()
    changed = launch.override(config, ["--config.search.rollouts=(1,2)", "--config.search.rollouts=3"])
    assert changed.search.rollouts == (3,)


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        ("OSError(28, 'No space left on device', '/there/log')", 2, "/there/log: No space left on device"),
        ("BrokenPipeError(32, 'Broken pipe')", 141, "nobody reads the output"),
        ("KeyboardInterrupt()", 130, "the same command goes on"),
        ("launch.signals.Terminated()", 143, "terminated; the same command goes on"),
    ],
)
def test_what_ends_a_run_from_outside_is_said_in_a_line(tmp_path, raised, status, message):
    code = (
        "import sys; from rstar_jax import launch\n"
        "def job(config):\n"
        f"    def run(workdir): raise {raised}\n"
        "    return run\n"
        "launch.JOBS['evolve'] = job\n"
        f"sys.exit(launch.main(['--config={config_file(tmp_path)}']))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == status
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("job", "together", "message", "status"),
    [
        ("print('done')", False, "", 141),  # what is buffered fails at the end
        ("print('done')", True, "", 141),
        ("print('more', flush=True)", False, "stopped: nobody reads the output.", 141),
        ("print('more', flush=True)", True, "", 141),
        ("(print('done'), fail('bad'))", False, "error: bad", 2),
    ],
)
def test_a_closed_pipe_ends_it_without_a_traceback(tmp_path, job, together, message, status):
    code = (
        "import sys; from rstar_jax import errors, launch\n"
        "def fail(why): raise errors.UserError(why)\n"
        f"launch.JOBS['evolve'] = lambda config: lambda workdir: {job}\n"
        f"sys.exit(launch.main(['--config={config_file(tmp_path)}']))\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-c", code],
        stdout=writer,
        stderr=writer if together else subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        text=True,
    )
    os.close(writer)
    assert ended.returncode == status
    told = ended.stderr or ""
    assert told.startswith(message) and len(told.splitlines()) == bool(message)
