"""All pages of one endpoint in one window: side by side on the wire, in order to the caller.

In the order in which a page goes through them:

- ``fetcher`` requests a page, parses it, and holds it against the request by ``page_checks``,
  ``window_checks`` and ``shared_keys``; ``error_pages`` refuses an error with status 200; ``pages``
  has the parsed page, its columns from around the rows, and the rows that land; ``feed`` watches an
  endpoint that has its latest rows only. ``clock`` reads the API's own time,
  ``early_times`` knows times in too fine a unit.
- ``confirmation`` requests odd pages and ends a second time; ``growing_tail`` ends rows that grow
  faster than that; ``completeness`` proves that no row is missing, and notices loops;
  ``unproved`` says why some may be;
  ``alike_pages`` finds an API that sends the same for each number of a page;
  ``outages`` tells an outage with empty pages from the end, by a page that had rows;
  ``cursor_pages`` confirms pages that follow each other by the cursor;
  ``capped_page`` says why a page may lack rows: it says so, or should be the only one.
- ``contiguous`` reads pages in the order of a key, ``sequential`` all others; ``seen_rows`` knows
  which rows came already; ``window_cuts`` has the slices of a window, and the parts of a search
  that is capped; ``fan_out`` reads the pages of each of the ``partition_values``,
  ``value_failures`` say what one does that can't be read, and ``alike_values`` finds those that the
  API ignores; ``prefetch`` keeps pages on their way.
- Each of these readers yields batches with the ``position`` behind them, which a later attempt
  resumes from. ``plan`` says which of them an endpoint's YAML means.
"""
