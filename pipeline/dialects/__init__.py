"""From the request of a page to the HTTP request for it, in the API's own words. Pure.

``http_request`` (templates of plain HTTP, and what all requests are), ``igdb`` (IGDB's query
language, and many pages in one request), ``placeholders`` (a window's bounds as an API has them,
and values inside query languages and paths).
"""
