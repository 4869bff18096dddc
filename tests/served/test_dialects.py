"""Servers that differ: where the stop is told, which parameters are taken, what is counted."""

from __future__ import annotations

import pytest

from rstar_jax.errors import UserError
from rstar_jax.queues import call
from rstar_jax.served.dialect import Dialect, too_long
from rstar_jax.served.stream import Malformed, Refusal, Response, message_of
from tests.served.conftest import STOPS, request
from tests.served.server import Reply


def texts(found):
    return [(choice.text.partition(" says ")[0], choice.stop) for choice in found]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("pieces", [1, 5, 1000])
@pytest.mark.parametrize(
    ("include", "tell", "logprobs", "sent"),
    [
        (True, "", False, 1),  # TGI
        (False, "stop_reason", False, 1),  # vLLM, were it not asked to leave it
        (False, "matched_stop", False, 1),  # SGLang, likewise
        (False, "", False, 2),  # hidden: sent again without a stop, to be cut here
    ],
)
def test_the_stop_is_found(server, ask, stream, pieces, include, tell, logprobs, sent):
    server.include, server.tell, server.logprobs, server.pieces = include, tell, logprobs, pieces
    server.stream = stream
    queue = ask(server.address, slots=1)
    found = call(queue, [request(0, n=2), request(1, n=2)])
    assert [texts(choices) for choices in found] == [[("0", STOPS[0]), ("1", STOPS[1])]] * 2
    assert all(choice.text.endswith(choice.stop) for choices in found for choice in choices)
    assert len(server.met) == sent + 1
    assert ("stop" in server.met[-1].body) == (sent == 1)


def test_a_hidden_stop_is_read_among_the_tokens():
    answer = Response(1, STOPS)
    tokens = {"tokens": ["x", " = 1", "\n<end_of", "_code>"], "token_logprobs": [-1.0, -0.5, None, -0.25]}
    data = '{"choices": [{"text": "x = 1\\n", "finish_reason": "stop", "logprobs": %s}]}'
    assert answer.take(data % str(tokens).replace("'", '"').replace("None", "null"))
    (choice,) = answer.choices()
    assert (choice.text, choice.stop, choice.logprob) == ("x = 1\n<end_of_code>", STOPS[1], -1.75)


def test_a_text_that_its_model_ended_has_no_stop(server, ask):
    def write(body, k):
        return "I am done" if body["prompt"] == "prompt 1" else f"a step{STOPS[0]}"

    server.write = write
    queue = ask(server.address, slots=1)
    (first,), (second,) = call(queue, [request(0), request(1)])
    assert (first.stop, first.fault) == (STOPS[0], "")
    assert (second.text, second.stop, second.fault) == ("I am done", "", "ended by the model")
    assert len(server.met) == 2


def test_a_text_that_is_too_long_is_cut_by_the_server(server, ask):
    server.write = lambda body, k: "word " * 100
    ((choice,),) = call(ask(server.address), [request(0, max_tokens=20)])
    assert (choice.stop, choice.fault, len(choice.text)) == ("", "", 20)


@pytest.mark.parametrize("most", [1, 2])
def test_candidates_that_one_request_does_not_give_are_asked_for_one_by_one(server, ask, most):
    server.most = most
    queue = ask(server.address, slots=2)
    found = call(queue, [request(i, n=4) for i in range(3)])
    assert [len({choice.text for choice in choices}) for choices in found] == [4, 4, 4]  # seeds of their own
    assert server.met[-1].body.get("n") is None


@pytest.mark.parametrize(
    "refused",
    [
        {"include_stop_str_in_output", "no_stop_trim"},
        {"seed", "logprobs", "stream_options", "top_p"},
        {"n", "skip_special_tokens", "spaces_between_special_tokens"},
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_parameters_that_a_server_refuses_are_left_out(server, ask, refused, status):
    async def behave(body):
        for name in sorted(refused & body.keys()):
            detail = [{"loc": ["body", name], "msg": "Extra inputs are not permitted"}]
            raise Reply(status, {"detail": detail} if status == 422 else {
                "error": {"message": f"Unrecognized request argument supplied: {name}", "param": name}
            })  # fmt: skip

    server.behave = behave
    found = call(ask(server.address, slots=1), [request(i, n=2) for i in range(3)])
    assert all(choice.stop for choices in found for choice in choices) and len(found) == 3
    assert not refused & server.met[-1].body.keys()
    refusals = len(refused)
    assert len(server.met) == refusals + (3 if "n" not in refused else 6)


def test_refusals_for_good_say_what_to_do(server, ask, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    cases = {
        401: ({"error": {"message": "Incorrect API key"}}, "OPENAI_API_KEY"),
        404: ({"object": "error", "message": "The model `model` does not exist."}, "/models lists"),
        400: ({"error": {"message": "prompt must be shorter than context length"}}, "max_step_tokens"),
    }
    for status, (body, todo) in cases.items():

        async def behave(_, status=status, body=body):
            raise Reply(status, body)

        server.behave = behave
        with pytest.raises(UserError) as raised:
            call(ask(server.address), [request(0)])
        said = str(raised.value)
        words = message_of(body)
        for part in ("config.policy.bootstrap", server.address.partition("#")[0], "'model'", words, todo):
            assert part in said, said
        assert "secret" not in said


def test_a_prompt_without_room_is_dead_and_no_more(server, ask):
    async def behave(body):
        if body["prompt"] == "prompt 1":
            raise Reply(400, {"message": "This model's maximum context length is 4096 tokens."})

    server.behave = behave
    queue = ask(server.address, slots=1)
    found = call(queue, [request(i) for i in range(3)])
    assert [bool(choices[0].stop) for choices in found] == [True, False, True]
    assert found[1][0].fault == "no room in the server's context"
    assert queue.stats()["given_up"] == 1


@pytest.mark.parametrize(
    ("message", "names"),
    [
        ("n must be 1", {"n"}),
        ('[{"loc": ["body", "n"]}]', {"n"}),
        ("`seed` is not supported", {"seed"}),
        ("unknown field include_stop_str_in_output", {"include_stop_str_in_output"}),
        ("a sentence in which no parameter is named", set()),
    ],
)
def test_which_parameters_a_refusal_names(message, names):
    dialect = Dialect()
    body = dialect.body("m", request(0), 2, 1, 1.0)
    assert dialect.refused(message, body) == bool(names) and dialect.dropped == names


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("This model's maximum context length is 4096 tokens. However, you requested 4300", True),
        ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000", True),
        ("the request exceeds the available context size", True),
        ("temperature must be non-negative", False),
    ],
)
def test_which_refusals_are_of_length(message, says):
    assert too_long(message) == says


@pytest.mark.parametrize(
    "data", ["{", "[]", "3", '{"choices": 1}', '{"choices": [{"index": 9, "text": "x"}]}',
             '{"choices": [{"text": 5}]}', '{"choices": [null]}', '{"usage": {"prompt_tokens": "x"}}'],
)  # fmt: skip
def test_what_is_no_completion_is_malformed(data):
    with pytest.raises(Malformed):
        Response(2, STOPS).take(data)


def test_an_error_in_the_stream_is_one():
    with pytest.raises(Refusal) as raised:
        Response(1, STOPS).take('{"error": {"message": "out of memory", "code": 503}}')
    assert (raised.value.status, str(raised.value)) == (503, "out of memory")


def test_halves_of_a_character_are_joined():
    answer = Response(1, STOPS)
    answer.take('{"choices": [{"text": "\\ud83d"}]}')
    answer.take('{"choices": [{"text": "\\ude00 \\ud800 <end_of_step>", "finish_reason": "stop"}]}')
    (choice,) = answer.choices()
    assert choice.text.startswith("\U0001f600 ") and choice.text.encode()
