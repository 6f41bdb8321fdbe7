"""Which pages to ask for, as which requests, and why no row lies between two of them. Pure.

``pagers`` (the question after an answer), ``proof`` (pages that join), ``bounds`` and ``keys`` (a
window and a key in an API's own words), ``request`` (a page as an HTTP request; ``query`` of its
URL), ``apicalypse`` and ``multiquery`` (IGDB's language, and pages that ride together).
"""
