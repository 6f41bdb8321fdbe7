"""Where the state of a budget is kept, so that all its users meet.

``base`` (what a store has to do; the memory of one process), ``folder`` (the processes of one
machine; its ``files``), ``postgres`` and ``redis`` (many machines; ``server``: what they share),
``registry`` (which of them ``HEADRACE_BUDGET`` means).
"""
