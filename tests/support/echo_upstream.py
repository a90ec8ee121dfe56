"""A model server of the worst kind, in a thread of the test: it says back what it was sent, credentials as well."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

MODELS = ("good", "unauthorized", "unavailable", "broken", "gone")


class EchoUpstream:
    """Listens at `base_url` while it is entered; `seen` are the header fields of the calls. Each of its models is an answer:

    `good` answers; `unauthorized` and `unavailable` answer 401 and 503, and repeat all header fields; `broken` breaks off in the
    middle; `gone` closes the connection without an answer.
    """

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []

    def __enter__(self) -> Self:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                upstream.seen.append(headers)
                usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
                match body["model"]:
                    case "unauthorized":
                        self._answer(
                            401, {"error": {"message": f"wrong credential: {headers}", "code": headers["authorization"]}}
                        )
                    case "unavailable":
                        self._answer(503, {"error": {"message": f"not now: {headers}"}})
                    case "broken":
                        self.send_response(200)
                        self.send_header("content-length", "1000")
                        self.end_headers()
                        self.wfile.write(json.dumps(headers).encode()[:500])
                        self.close_connection = True
                    case "gone":
                        self.close_connection = True
                    case _:
                        self._answer(200, {"object": "chat.completion", "choices": [], "usage": usage})

            def _answer(self, status: int, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
