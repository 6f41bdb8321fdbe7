"""Of what has too many cases some are tried: ``HEADRACE_THOROUGH=20`` tries 20 times as many."""

import os

THOROUGH = int(os.environ.get("HEADRACE_THOROUGH", "1"))
