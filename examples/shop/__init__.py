"""The API of the tutorial: a small shop whose orders change, on loopback.

- ``orders``: the rows, as functions of the time;
- ``server``: the HTTP API over them;
- ``__main__``: starts it, with a local S3 beside it.
"""
