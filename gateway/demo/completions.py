"""`POST completions`, the older endpoint for plain text: one answer per prompt and choice."""

from collections.abc import Iterator

from gateway.demo import requests
from gateway.demo.answers import WORD_PAUSE, Events, Json, Text, Whole, count_tokens, head, reply_to, usage
from gateway.demo.requests import Body, Rejected

_DEFAULT_TOKENS = 16
_MOST_TOKENS = 1_000_000


def answer(body: Body) -> Whole | Events:
    """The answer to one request; without `max_tokens` it has at most 16, as OpenAI's. Raises Rejected."""
    model = requests.model(body, requests.CHAT_MODEL)
    prompts = _prompts(body)
    choices = requests.integer(body, "n", 1, requests.MOST_CHOICES) or 1
    most_tokens = requests.integer(body, "max_tokens", 1, _MOST_TOKENS) or _DEFAULT_TOKENS
    with_usage = requests.wants_usage(body)
    delay = requests.delay(body)
    texts = [reply_to(prompt, most_tokens) for prompt in prompts for _ in range(choices)]
    used = usage(sum(count_tokens(len(prompt.split())) for prompt in prompts), sum(text.tokens for text in texts))
    opening = head("cmpl", "text_completion", model)
    if requests.flag(body, "stream"):
        return Events(_events(opening, texts, WORD_PAUSE if delay is None else delay, used if with_usage else None))
    made = [_choice(index, str(text), text.finish_reason) for index, text in enumerate(texts)]
    return Whole({**opening, "choices": made, "usage": used}, delay or 0.0)


def _prompts(body: Body) -> list[str]:
    """The prompts: a string, several, or token numbers (of which each counts as a word)."""
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(item, str) for item in prompt):
            return prompt
        if all(isinstance(item, int) for item in prompt):
            return [" ".join(map(str, prompt))]
        if all(isinstance(item, list) for item in prompt):
            return [" ".join(map(str, item)) for item in prompt]
    raise Rejected("`prompt` must be a string, a list of strings, or token numbers.", param="prompt")


def _choice(index: int, text: str, finish_reason: str | None) -> Json:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}


def _events(opening: Json, texts: list[Text], pause: float, used: Json | None) -> Iterator[tuple[float, Json]]:
    usage_field: Json = {} if used is None else {"usage": None}
    for index, text in enumerate(texts):
        for piece in text.pieces():
            yield pause, {**opening, "choices": [_choice(index, piece, None)], **usage_field}
        yield 0.0, {**opening, "choices": [_choice(index, "", text.finish_reason)], **usage_field}
    if used is not None:
        yield 0.0, {**opening, "choices": [], "usage": used}
