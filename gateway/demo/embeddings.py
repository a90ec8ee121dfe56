"""`POST embeddings`: vectors made by hashing words, so that equal texts have equal vectors and similar texts similar ones."""

import base64
import hashlib
import math
import struct

from gateway.demo import requests
from gateway.demo.answers import Whole, count_tokens
from gateway.demo.requests import Body, Rejected

_DIMENSIONS = 64
_MOST_DIMENSIONS = 4096
_MOST_INPUTS = 2048


def answer(body: Body) -> Whole:
    """The answer to one request. Raises Rejected."""
    model = requests.model(body, requests.EMBEDDING_MODEL)
    inputs = _inputs(body)
    dimensions = requests.integer(body, "dimensions", 1, _MOST_DIMENSIONS) or _DIMENSIONS
    encoding = body.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise Rejected("`encoding_format` must be `float` or `base64`.", param="encoding_format")
    data = []
    for index, words in enumerate(inputs):
        vector = _vector(words, dimensions)
        data.append({"object": "embedding", "index": index, "embedding": vector if encoding == "float" else _base64(vector)})
    tokens = sum(count_tokens(len(words)) for words in inputs)
    used = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Whole({"object": "list", "model": model, "data": data, "usage": used}, requests.delay(body) or 0.0)


def _inputs(body: Body) -> list[list[str]]:
    """The words of each input: a string, several, or one or several lists of token numbers."""
    given = body.get("input")
    items: list[object] = [given]
    if isinstance(given, list) and not all(isinstance(item, int) for item in given):
        items = given
    if len(items) > _MOST_INPUTS:
        raise Rejected(f"`input` must have at most {_MOST_INPUTS} items.", param="input")
    return [_words(item) for item in items]


def _words(item: object) -> list[str]:
    if isinstance(item, str) and item:
        return item.split() or [item]
    if isinstance(item, list) and item and all(isinstance(token, int) for token in item):
        return [str(token) for token in item]
    raise Rejected("`input` must be a string, a list of strings, or token numbers, none of them empty.", param="input")


def _vector(words: list[str], dimensions: int) -> list[float]:
    """The sum of the words' vectors, scaled to length 1."""
    total = [0.0] * dimensions
    for word in words:
        digest = hashlib.shake_256(word.casefold().encode("utf-8", "surrogatepass")).digest(4 * dimensions)
        for index, value in enumerate(struct.unpack(f"<{dimensions}i", digest)):
            total[index] += value
    length = math.sqrt(math.fsum(value * value for value in total)) or 1.0
    return [value / length for value in total]


def _base64(vector: list[float]) -> str:
    """32-bit floats, little-endian, as OpenAI's SDKs read them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
