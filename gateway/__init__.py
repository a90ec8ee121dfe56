"""An OpenAI-compatible gateway: workspaces, model grants, exact rate limits, metering."""

__version__ = "0.1.0"
