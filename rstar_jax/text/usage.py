r"""Instructions for others: a chat template for the tokenizer, and the usage section of a model's card.

Everything is by text, so that it holds for delimiters that are tokens and for those that are plain text. The
snippets need torch, transformers and jinja2, and nothing of this package: transformers writes the ids that
`Tokenizer` writes (tests/evolve/test_used_elsewhere.py runs them).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from string import Template

from rstar_jax.text.grammar import Grammar
from rstar_jax.text.tokenizer import Tokenizer

_QUESTION = "{question}"
_EXAMPLE = "Tom drives 6 hours at 25 km/h and 5 hours at 52 km/h. How many km in all?"

_POLICY = Template(r"""import re, subprocess, sys
from transformers import AutoModelForCausalLM, $loader

FOLDER = "."  # the folder of this card, or its id on a hub
model, tokenizer = AutoModelForCausalLM.from_pretrained(FOLDER), $loader.from_pretrained(FOLDER)

def run(program):  # a model wrote it: let it run only where it can do no harm
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=10)
    return done.stdout.strip()

def solve(question):
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    for _ in range(8):
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        written = model.generate(**ids, tokenizer=tokenizer, max_new_tokens=512, do_sample=False)
        written = tokenizer.decode(written[0, ids["input_ids"].shape[1]:])
        text += re.match(r"(?s).*?($handovers|\Z)", written)[0]
        if not text.endswith("$end_code"):
            break
        program = text.rpartition("$opening")[2].replace("$end_step", "").removesuffix("$end_code")
        text += f"\n$output{run(program)}$end_output"
    boxed = re.search(r"(?s)$begun.*\\boxed{(.*)}.*$ended\Z", text)
    return text, boxed and boxed[1]

print(*solve($example), sep="\n\n")
""")

# Of a grammar that has nothing run on the way.
_ALONE = Template(r"""import re
from transformers import AutoModelForCausalLM, $loader

FOLDER = "."  # the folder of this card, or its id on a hub
model, tokenizer = AutoModelForCausalLM.from_pretrained(FOLDER), $loader.from_pretrained(FOLDER)

def solve(question):
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    written = model.generate(**ids, tokenizer=tokenizer, max_new_tokens=2048, do_sample=False)
    written = tokenizer.decode(written[0, ids["input_ids"].shape[1]:])
    text += re.match(r"(?s).*?($handovers|\Z)", written)[0]
    boxed = re.search(r"(?s)$begun.*\\boxed{(.*)}.*$ended\Z", text)
    return text, boxed and boxed[1]

print(*solve($example), sep="\n\n")
""")

_REWARD = Template(r"""import torch
from transformers import AutoModelForSequenceClassification, $loader

FOLDER = "."  # the folder of this card, or its id on a hub
model = AutoModelForSequenceClassification.from_pretrained(FOLDER)
tokenizer = $loader.from_pretrained(FOLDER)

def value(question, solution):  # solution: steps as the policy writes them, the last one whole
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + solution
    with torch.no_grad():
        score = model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits
    return score.div($scale).tanh().item()

print(value($example, "$opening\n# Step 1: First part\nx = 6 * 25\n$end_step"))
""")


def chat_template(prompt: Callable[[str], str], tokenizer: Tokenizer) -> str:
    """A Jinja template whose user messages become prompts; assistant messages follow as they are.

    prompt: a task's, of a question. The template writes the BOS, too, where the tokenizer has every prompt
    begin with one.
    """
    before, _, after = prompt(_QUESTION).partition(_QUESTION)
    bos = tokenizer.bos_id
    begin = "" if bos is None else f"{{{{ {json.dumps(tokenizer.decode([bos]))} }}}}"
    # Strings, not bare text, which would lose a line end that stands last.
    return (
        f"{begin}{{% for message in messages %}}{{% if message['role'] == 'user' %}}"
        f"{{{{ {json.dumps(before)} + message['content'] + {json.dumps(after)} }}}}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] }}{% endif %}{% endfor %}"
    )


def loader(tokenizer: Tokenizer, family: str) -> str:
    """The class of transformers that reads a folder's tokenizer.json as it is written.

    family: the config's model_type. For qwen2 AutoTokenizer (transformers 5.8 to 5.24; 4.57 to 5.3 did not)
    puts Qwen2's own splitting in the place of the file's, whatever tokenizer_class says.
    """
    as_written = family != "qwen2" or tokenizer.reads_as_qwen2
    return "AutoTokenizer" if as_written else "PreTrainedTokenizerFast"


def policy_usage(prompt: Callable[[str], str], grammar: Grammar, loader: str = "AutoTokenizer") -> str:
    """The section of a policy's card: prompt, stops, and a loop that runs the code (Markdown)."""
    stops = ", ".join(f"`{stop}`" for stop in grammar.stops)
    runs = bool(grammar.opening and grammar.end_code and grammar.output)
    how = (
        f"At `{grammar.end_code}` the program\nfrom `{grammar.opening}` on is to be run, and what it prints "
        f"is appended as a line `{grammar.output}...{grammar.end_output}`; then the\nanswer follows. "
    )
    but = "".join(f" but `{stop}`" for stop in grammar.stops if stop not in grammar.handovers)
    ends = f"{stops}. {how * runs}`generation_config.json` has these stops{but}"
    return f"""## Usage

The prompt, which the chat template writes:

{_shown(prompt)}

Every step ends with one of {ends} as `stop_strings`, for which
`generate` wants `tokenizer=`. Servers take them with a request (vLLM: `stop`, `include_stop_str_in_output`).

```python
{_filled(_POLICY if runs else _ALONE, grammar, loader=loader)}```
"""


def reward_usage(
    prompt: Callable[[str], str], grammar: Grammar, loader: str = "AutoTokenizer", scale: float = 1.0
) -> str:
    """The section of a reward model's card: what it reads and how its score becomes a value (Markdown).

    scale: what scores are divided by before tanh.
    """
    return f"""## Usage

It reads the policy's prompt, which the chat template writes, and the solution up to the end of a step:

{_shown(prompt)}

```python
{_filled(_REWARD, grammar, loader=loader, scale=f"{scale:g}")}```
"""


def _filled(template: Template, grammar: Grammar, **values: str) -> str:
    """A snippet for a grammar; its delimiters may hold what Python's strings and patterns give a meaning."""
    quoted = {
        name: json.dumps(getattr(grammar, name))[1:-1]
        for name in ("opening", "end_step", "end_code", "output", "end_output")
    }
    quoted |= {name: quoted[name].replace("{", "{{").replace("}", "}}") for name in ("output", "end_output")}
    handovers, begun, ended = (
        "|".join(re.escape(mark).replace('"', r"\x22") for mark in marks)
        for marks in (grammar.handovers, (grammar.answer,), (grammar.end_answer,))
    )
    return template.substitute(
        quoted, handovers=handovers, begun=begun, ended=ended, example=repr(_EXAMPLE), **values
    )


def _shown(prompt: Callable[[str], str]) -> str:
    return "\n".join(f"    {line}" for line in prompt(_QUESTION).split("\n"))
