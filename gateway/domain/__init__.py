"""The rules of the gateway, pure: standard library only, no async, no clock and no randomness of its own but in `ids` and
`credentials.generate`; `now` is always an argument.
"""
