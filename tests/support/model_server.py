"""llama.cpp's own HTTP server (from the package xllamacpp) with the tiny model: an upstream that nobody here wrote.

Run as a program, this module is the server; imported, it starts one. One process serves chat, completions and embeddings.
"""

import json
import os
import re
import sys
import urllib.request
from pathlib import Path

from tests.support.processes import ChildProcess
from tests.support.tiny_model import tiny_model

MODEL = "tiny-llama"
"""The name under which the server lists its model."""

CONTEXT = 65_536
_SLOTS = 2
_METRIC = re.compile(r"^llamacpp:(\w+) (\S+)$", re.MULTILINE)


class ModelServer(ChildProcess):
    """A running model server. `base_url` is what an OpenAI client takes (it ends in `/v1`)."""

    def __init__(self) -> None:
        super().__init__([sys.executable, "-m", "tests.support.model_server", tiny_model()])
        try:
            self.wait_until(lambda: self.stdout().endswith("\n"), "the model server listens")
        except AssertionError:
            self.close()
            raise
        self._address = json.loads(self.stdout())["address"]
        self.base_url = f"{self._address}/v1"

    def metrics(self) -> dict[str, float]:
        """The server's own figures, such as `requests_processing` and `tokens_predicted_total`."""
        with urllib.request.urlopen(f"{self._address}/metrics", timeout=10) as reply:
            return {name: float(value) for name, value in _METRIC.findall(reply.read().decode())}

    def requests_processing(self) -> int:
        return int(self.metrics()["requests_processing"])


def serve(model: Path) -> None:
    """Serve `model` on a free port, print `{"address": …}` once it is ready, and stay until standard input ends."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {MODEL}
    params.port = 0
    params.endpoint_metrics = True
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.n_parallel = _SLOTS
    params.n_ctx = _SLOTS * CONTEXT
    params.n_ubatch = params.n_batch
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 8
    params.cache_ram_mib = 0
    params.warmup = params.fit_params = params.ui = False
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps({"address": server.listening_address}) + "\n")
    sys.stdout.flush()
    while os.read(0, 4096):
        pass
    # The server's own way out waits for every generation to end.
    os._exit(0)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
