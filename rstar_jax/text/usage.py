r"""Instructions for others: a chat template for the tokenizer, and the usage section of a model's card.

Everything is by text, so that it holds for delimiters that are tokens and for those that are plain text. The
snippets need torch, transformers and jinja2, and nothing of this package: transformers writes the ids that
`Tokenizer` writes (tests/evolve/test_used_elsewhere.py runs them).
"""

from __future__ import annotations

import json
from collections.abc import Callable

from rstar_jax.text.grammar import ANSWER, CODE, END_ANSWER, END_CODE, END_OUTPUT, END_STEP, OUTPUT, STOPS
from rstar_jax.text.tokenizer import Tokenizer

# Generation goes on past the end of a step; at these somebody else has the word.
GENERATION_STOPS = (END_CODE, END_ANSWER)
_QUESTION = "{question}"
_EXAMPLE = "Tom drives 6 hours at 25 km/h and 5 hours at 52 km/h. How many km in all?"

_POLICY = rf'''import re, subprocess, sys
from transformers import AutoModelForCausalLM, LOADER

FOLDER = "."  # the folder of this card, or its id on a hub
model, tokenizer = AutoModelForCausalLM.from_pretrained(FOLDER), LOADER.from_pretrained(FOLDER)

def run(program):  # a model wrote it: let it run only where it can do no harm
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=10)
    return done.stdout.strip()

def solve(question):
    messages = [{{"role": "user", "content": question}}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    for _ in range(8):
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        written = model.generate(**ids, tokenizer=tokenizer, max_new_tokens=512, do_sample=False)
        written = tokenizer.decode(written[0, ids["input_ids"].shape[1]:])
        text += re.match(r"(?s).*?({"|".join(GENERATION_STOPS)}|\Z)", written)[0]
        if not text.endswith("{END_CODE}"):
            break
        program = text.rpartition("{CODE}")[2].replace("{END_STEP}", "").removesuffix("{END_CODE}")
        text += f"\n{OUTPUT}{{run(program)}}{END_OUTPUT}"
    boxed = re.search(r"(?s){ANSWER}.*\\boxed{{(.*)}}.*{END_ANSWER}\Z", text)
    return text, boxed and boxed[1]

print(*solve({_EXAMPLE!r}), sep="\n\n")
'''

_REWARD = rf'''import torch
from transformers import AutoModelForSequenceClassification, LOADER

FOLDER = "."  # the folder of this card, or its id on a hub
model = AutoModelForSequenceClassification.from_pretrained(FOLDER)
tokenizer = LOADER.from_pretrained(FOLDER)

def value(question, solution):  # solution: steps as the policy writes them, the last one whole
    messages = [{{"role": "user", "content": question}}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + solution
    with torch.no_grad():
        score = model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits
    return score.div(SCALE).tanh().item()

print(value({_EXAMPLE!r}, "{CODE}\n# Step 1: First part\nx = 6 * 25\n{END_STEP}"))
'''


def chat_template(prompt: Callable[[str], str], tokenizer: Tokenizer) -> str:
    """A Jinja template whose user messages become prompts; assistant messages follow as they are.

    prompt: a row of `PROMPTS`. It writes the BOS, too, where the tokenizer has every prompt begin with one.
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


def policy_usage(prompt: Callable[[str], str], loader: str = "AutoTokenizer") -> str:
    """The section of a policy's card: prompt, stops, and a loop that runs the code (Markdown)."""
    stops = ", ".join(f"`{stop}`" for stop in STOPS)
    return f"""## Usage

The prompt, which the chat template writes:

{_shown(prompt)}

Every step ends with one of {stops}. At `{END_CODE}` the program
from `{CODE}` on is to be run, and what it prints is appended as a line `{OUTPUT}...{END_OUTPUT}`; then the
answer follows. `generation_config.json` has these stops but `{END_STEP}` as `stop_strings`, for which
`generate` wants `tokenizer=`. Servers take them with a request (vLLM: `stop`, `include_stop_str_in_output`).

```python
{_POLICY.replace("LOADER", loader)}```
"""


def reward_usage(prompt: Callable[[str], str], loader: str = "AutoTokenizer", scale: float = 1.0) -> str:
    """The section of a reward model's card: what it reads and how its score becomes a value (Markdown).

    scale: what scores are divided by before tanh.
    """
    return f"""## Usage

It reads the policy's prompt, which the chat template writes, and the solution up to the end of a step:

{_shown(prompt)}

```python
{_REWARD.replace("LOADER", loader).replace("SCALE", f"{scale:g}")}```
"""


def _shown(prompt: Callable[[str], str]) -> str:
    return "\n".join(f"    {line}" for line in prompt(_QUESTION).split("\n"))
