"""`POST chat/completions`: text about the last user message, or a tool call; as one JSON answer or as chunks."""

from collections.abc import Iterator

from gateway.demo import requests
from gateway.demo.answers import WORD_PAUSE, Events, Json, Text, Whole, count_tokens, head, reply_to, usage
from gateway.demo.requests import Body, Rejected
from gateway.demo.tool_calls import call, chosen_tool

_MOST_TOKENS = 1_000_000
_WORDS_PER_MESSAGE = 3
_ARGUMENT_PIECE = 12


def answer(body: Body) -> Whole | Events:
    """The answer to one request. Raises Rejected."""
    model = requests.model(body, requests.CHAT_MODEL)
    messages = _messages(body)
    choices = requests.integer(body, "n", 1, requests.MOST_CHOICES) or 1
    most_tokens = requests.integer(body, "max_completion_tokens", 1, _MOST_TOKENS)
    most_tokens = most_tokens or requests.integer(body, "max_tokens", 1, _MOST_TOKENS)
    with_usage = requests.wants_usage(body)
    delay = requests.delay(body)
    tool = chosen_tool(body)
    text = reply_to(_last_said(messages), most_tokens)
    calls = [call(tool) for _ in range(choices)] if tool else None
    used = usage(_prompt_tokens(messages), _completion_tokens(text, calls, choices))
    if requests.flag(body, "stream"):
        pause = WORD_PAUSE if delay is None else delay
        opening = head("chatcmpl", "chat.completion.chunk", model)
        deltas = _call_chunks(calls, pause) if calls else _text_chunks(text, choices, pause)
        return Events(_events(opening, deltas, used if with_usage else None))
    made = [_choice(index, text, calls) for index in range(choices)]
    return Whole({**head("chatcmpl", "chat.completion", model), "choices": made, "usage": used}, delay or 0.0)


def _messages(body: Body) -> list[Body]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Rejected("`messages` must be a list with at least one message.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Rejected(f"`messages[{index}]` must be an object with a `role`.", param=f"messages[{index}]")
        if not isinstance(message.get("content"), str | list | None):
            raise Rejected(
                f"`messages[{index}].content` must be a string or a list of parts.", param=f"messages[{index}].content"
            )
    return messages


def _last_said(messages: list[Body]) -> str:
    said = [message for message in messages if message["role"] in ("user", "tool")]
    return requests.text_of(said[-1].get("content")) if said else ""


def _prompt_tokens(messages: list[Body]) -> int:
    return sum(count_tokens(len(requests.text_of(message.get("content")).split()) + _WORDS_PER_MESSAGE) for message in messages)


def _completion_tokens(text: Text, calls: list[Json] | None, choices: int) -> int:
    if calls is None:
        return text.tokens * choices
    return sum(count_tokens(1 + len(call["function"]["arguments"].split())) for call in calls)


def _choice(index: int, text: Text, calls: list[Json] | None) -> Json:
    message: Json = {"role": "assistant", "content": str(text), "refusal": None}
    if calls:
        message |= {"content": None, "tool_calls": [calls[index]]}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": "tool_calls" if calls else text.finish_reason}


def _events(opening: Json, deltas: Iterator[tuple[float, Json]], used: Json | None) -> Iterator[tuple[float, Json]]:
    """The chunks; where the client asked for usage, every chunk has the field and one more chunk fills it."""
    usage_field: Json = {} if used is None else {"usage": None}
    for pause, choice in deltas:
        yield pause, {**opening, "choices": [choice], **usage_field}
    if used is not None:
        yield 0.0, {**opening, "choices": [], "usage": used}


def _delta(index: int, delta: Json, finish_reason: str | None = None) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _text_chunks(text: Text, choices: int, pause: float) -> Iterator[tuple[float, Json]]:
    for index in range(choices):
        yield 0.0, _delta(index, {"role": "assistant", "content": ""})
    for piece in text.pieces():
        for index in range(choices):
            yield (0.0 if index else pause), _delta(index, {"content": piece})
    for index in range(choices):
        yield 0.0, _delta(index, {}, text.finish_reason)


def _call_chunks(calls: list[Json], pause: float) -> Iterator[tuple[float, Json]]:
    for index, made in enumerate(calls):
        arguments = made["function"]["arguments"]
        opened = {"index": 0, **made, "function": {"name": made["function"]["name"], "arguments": ""}}
        yield 0.0, _delta(index, {"role": "assistant", "content": None, "tool_calls": [opened]})
        for start in range(0, len(arguments), _ARGUMENT_PIECE):
            part = {"index": 0, "function": {"arguments": arguments[start : start + _ARGUMENT_PIECE]}}
            yield pause, _delta(index, {"tool_calls": [part]})
    for index in range(len(calls)):
        yield 0.0, _delta(index, {}, "tool_calls")
