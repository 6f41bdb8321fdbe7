"""All pages of one endpoint in one window: side by side on the wire, in order to the caller.

``fetcher`` (a page, read ``parse_batching`` with others and held against what was asked for by
``page_checks``, ``window_filter``, ``totals``, ``links`` and ``tokens``), ``prefetch`` (side by
side, in order), ``contiguous`` (under the proof, with ``key_seeker``), ``sequential`` (one after
the other, until ``loop_guard`` or ``completeness`` say that it is enough; ``cursor_pages``,
``overlapping_pages`` and ``empty_pages`` ask a second time), ``fan_out`` (each value of a list),
``feed`` (the latest rows only), ``page_batch`` (what each of these gives), ``plan`` (which of these
an endpoint's YAML means).
"""
