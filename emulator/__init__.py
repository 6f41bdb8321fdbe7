"""A strict local IGDB v4: the rules of the real one, enforced, over synthetic data.

Nothing here is imported by the project itself. The files in the order in which a request
meets them: `server` (routes) → `api` → `limits` → `faults` → `auth` → `answers` → `tokens`,
`apicalypse` (text to query) → `store`, `plan`, `evaluate` (query to ids) → `table`, `data`,
`schema` (rows) → `project` (ids to JSON) → `deliver`, `wire` (bytes, whole or broken).
`control` and `stats` look on; `testing` starts all of it as a child process.
"""
