"""The documentation's site: `python -m docsite build` and `python -m docsite serve`.

Pages are written in `docs/`; pages that say what the code says are made from the code.

- ``pages``: which files of the project are part of the site, with what they link to;
- ``diagrams``: the pictures of `docs/diagrams`;
- ``reference``: the pages that are made from the code;
- ``look``: the built site in a browser;
- ``hook``: MkDocs calls it before each build, to bring all pages into `build/docs`;
- ``__main__``: the commands.
"""
