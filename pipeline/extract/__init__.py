"""All pages of one endpoint in one window: side by side on the wire, in order to the caller.

In the order in which a page goes through them:

- ``fetcher`` requests a page, parses it ``parse_batching`` with others, and holds it against the
  request by ``page_checks``; ``row_rules`` say what is kept of its rows, and ``context_columns``
  what they get from around them; ``feed`` watches an endpoint that has its latest rows only. The
  result is a ``parsed_page``. ``clock`` reads the API's own time; ``capped_page`` doubts a page
  that should be the only one.
- ``confirmation`` requests odd pages and ends a second time; ``growing_tail`` ends what grows
  faster than that; ``completeness`` proves that no row is missing, and notices loops.
- ``contiguous`` reads pages in the order of a key, ``sequential`` all others,
  ``row_digests`` and ``seen_rows`` know which rows came already;
  ``fan_out`` reads the pages of each value of a list, and ``value_failures`` say what one does
  that can't be read; ``prefetch`` keeps pages on their way.
- Each of these readers hands on a ``page_batch`` with the ``position`` behind it, which a later
  attempt resumes from. ``plan`` says which of them an endpoint's YAML means.
"""
