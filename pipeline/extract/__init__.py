"""All pages of one endpoint in one window: side by side on the wire, in order to the caller.

``fetch`` (a page, read ``together`` with others and held against what was asked for by ``order``,
``inside``, ``counted``, ``links`` and ``tokens``), ``lanes`` (side by side, in order), ``by_key``
(under the proof, with ``seek``), ``chains`` (one after the other, until ``endless`` or
``agreement`` say that it is enough; ``by_cursor``, ``overlap`` and ``empty`` ask a second time),
``by_each`` (each value of a list), ``feed`` (the latest rows only), ``handed`` (what each of these
gives), ``plan`` (which of these an endpoint's YAML means).
"""
