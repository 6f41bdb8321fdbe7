"""Which pages to ask for, as which requests, and why no row lies between two of them. Pure.

``pagers`` (the question after an answer), ``coverage`` (pages that join), ``window_format`` and
``keys`` (a window and a key in an API's own words), ``requests`` (a page as an HTTP request;
``query`` of its URL), ``apicalypse`` and ``multiquery`` (IGDB's language, and pages that ride
together).
"""
