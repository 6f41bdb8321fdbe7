"""What a machine needs to try Headrace: an S3 server, the API emulator, the demo, the UI.

Nothing here is imported by `pipeline/`, `resources/` or `assets/`. Everything that is started here
listens on 127.0.0.1 only, and stops with whoever started it, whatever kills that.
"""
