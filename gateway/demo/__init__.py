"""The demo upstream: an OpenAI-compatible server with no model behind it, for a first run and for tests.

Everything that it says is labelled: answers begin with `[demo]`, `system_fingerprint` and `owned_by` are `demo`, the models are
called `demo-chat` and `demo-embedding`. It is a server of its own process and imports nothing else of the gateway.

`requests` reads and checks bodies, `chat`, `completions` and `embeddings` make answers from them as plain values, `app` speaks
ASGI and keeps the pace, `server` listens.
"""
