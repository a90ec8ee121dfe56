"""How hypothesis runs here: the same examples everywhere, so that a failure on one machine is a failure on all."""

from hypothesis import settings

settings.register_profile("ci", derandomize=True, print_blob=True, deadline=None, max_examples=200)
settings.load_profile("ci")
