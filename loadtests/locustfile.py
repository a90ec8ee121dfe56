# mypy: disable-error-code="no-untyped-call, untyped-decorator"
"""Load for any deployment, with Locust's web page: mixed models, streams and keys. `make locust` starts it.

    LOAD_KEYS=sk-… make locust     # then open http://127.0.0.1:8089
    LOAD_KEYS_FILE=keys.txt locust -f loadtests/locustfile.py -H https://gateway.example.com \
        --models qwen-plus=3,qwen-turbo=1 --headless -u 200 -r 20 -t 5m --csv run

The working folder has to be the repository's root. The options are listed below, in `_options`, and on the web page under
"Custom parameters", but for those of keys, which the page neither takes nor shows; Locust's own `--help` knows none of them. Each
has an environment variable: `--stream-share` is LOAD_STREAM_SHARE.

What is counted: each call under its kind and model, with the time to the last byte of its reply. Of a stream, besides, the time
to its first event, and the mean and the longest time between its events: rows of type SSE, which are left out of `Aggregated`,
so that its rate is that of calls. A 429 is a row of its own and no failure, unless `--when-limited fail`: its user waits as
long as the reply says. A call with a bad key has to be answered 401.
"""

import time
from typing import Any

from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS, ResponseContextManager
from locust.env import Environment
from locust.exception import StopTest
from locust.runners import WorkerRunner

from loadtests.mix import Mix, StreamClock, Unusable, nobodys_key, refusal, wait_of

_OK, _NO_KEY, _TOO_MANY = 200, 401, 429


@events.init_command_line_parser.add_listener
def _options(parser: LocustArgumentParser) -> None:
    """The options of this load. What names keys cannot be seen or changed on the web page."""

    def add(name: str, default: str | float, text: str, **more: Any) -> None:
        env = "LOAD_" + name.upper().replace("-", "_")
        parser.add_argument(f"--{name}", type=type(default), default=default, env_var=env, help=text, **more)

    hidden = {"include_in_web_ui": False, "is_secret": True}
    add("keys", "", "API keys, with commas in between; better by the environment, since a command line can be seen", **hidden)
    add("keys-file", "", "A file with an API key on each line; empty lines and those that begin with # do not count", **hidden)
    add("models", "demo-chat", "Models to call, with their weights: a=3,b=1")
    add("stream-share", 0.5, "The share of chat calls that are streamed, from 0 to 1")
    add("list-share", 0.02, "The share of calls that list the models, from 0 to 1")
    add("bad-key-share", 0.0, "The share of calls with a bad key, which have to be answered 401, from 0 to 1")
    add("prompt-bytes", "100-2000", "How long prompts are: a number of bytes, or two with a hyphen")
    add("max-tokens", 100, "max_tokens of each call; 0 names none")
    add("pause", "0.5-1.5", "Seconds that a user waits between its calls: a number, or two with a hyphen")
    add("prefix", "/compatible-mode/v1", "What stands before /chat/completions and /models")
    add("when-limited", "wait", "What a 429 is: wait is a row of its own, whose user waits as the reply says; fail is a failure")


class _Plan:
    """The mix of the run that is under way, which all users of this process share."""

    mix: Mix | None = None
    problem = "no run has begun"


@events.init.add_listener
def _check(environment: Environment, **_more: object) -> None:
    """End with a clear word rather than begin without a key. A worker is told the options by its master."""
    if not isinstance(environment.runner, WorkerRunner):
        _plan(environment)
        if _Plan.mix is None:
            raise SystemExit(f"locust: {_Plan.problem}")


@events.test_start.add_listener
def _plan(environment: Environment, **_more: object) -> None:
    """Read the options as they are now, since the web page may have changed them."""
    try:
        _Plan.mix = Mix.of(environment.parsed_options)
    except Unusable as problem:
        _Plan.mix, _Plan.problem = None, str(problem)


class Application(FastHttpUser):
    """A client with one call under way at a time, each of another kind, model and key."""

    insecure = False  # certificates are verified, since real keys go there; SSL_CERT_FILE names authorities of your own
    network_timeout = 300.0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        if _Plan.mix is None:
            raise StopTest(_Plan.problem)  # which ends the run, as it does here alone
        self.mix = _Plan.mix
        self._told_to_wait = 0.0

    def wait_time(self) -> float:
        told, self._told_to_wait = self._told_to_wait, 0.0
        return max(told, self.mix.pause())

    @task
    def call(self) -> None:
        match self.mix.kind():
            case "list":
                self._list()
            case "bad key":
                self._bad_key()
            case kind:
                self._chat(stream=kind == "stream")

    def _list(self) -> None:
        with self._send("GET", "/models", self.mix.key(), "list models") as reply:
            self._judge(reply)

    def _bad_key(self) -> None:
        _, body = self.mix.body(stream=False)
        with self._send("POST", "/chat/completions", nobodys_key(), "chat, bad key", data=body) as reply:
            if reply.status_code == _NO_KEY:
                reply.success()
            elif reply.status_code:
                reply.failure(f"a bad key was answered {refusal(reply.status_code, reply.content)}")

    def _chat(self, *, stream: bool) -> None:
        model, body = self.mix.body(stream=stream)
        name = f"chat{', streamed' if stream else ''}: {model}"
        started = time.perf_counter()
        with self._send("POST", "/chat/completions", self.mix.key(), name, data=body, stream=stream) as reply:
            if self._judge(reply) and stream:
                self._read(reply, StreamClock(started), name)

    def _send(self, method: str, path: str, key: str, name: str, **more: Any) -> ResponseContextManager:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        url = self.mix.prefix + path
        # No redirects: a key goes nowhere else.
        return self.client.request(method, url, name, headers=headers, allow_redirects=False, catch_response=True, **more)

    def _judge(self, reply: ResponseContextManager) -> bool:
        """Whether the reply is a good one; else it is counted as what it is. A call without a reply is left to Locust."""
        status = reply.status_code
        if status == _OK:
            return True
        if status == _TOO_MANY and self.mix.waits:
            reply.request_meta["name"] += ", 429"
            reply.success()
            self._told_to_wait = wait_of(reply.headers or {})
        elif status:
            reply.failure(refusal(status, reply.content))
        return False

    def _read(self, reply: ResponseContextManager, clock: StreamClock, name: str) -> None:
        """Read a stream to its end, and keep its times."""
        try:
            while line := reply.stream.readline(b"\n"):
                clock.line(line, time.perf_counter())
        except FAILURE_EXCEPTIONS as error:
            reply.failure(f"the stream broke off: {type(error).__name__}")
        else:
            if clock.problem:
                reply.failure(clock.problem)
        reply.request_meta["response_time"] = (time.perf_counter() - clock.started) * 1000
        reply.request_meta["response_length"] = clock.bytes
        for what, seconds in clock.samples():
            # Into the entry itself, past `Aggregated`: a time is no call.
            self.environment.stats.get(f"{name}, {what}", "SSE").log(seconds * 1000, 0)
