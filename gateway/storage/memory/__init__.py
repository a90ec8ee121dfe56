"""Limits and epochs in this process: the embedded profile's stores."""
