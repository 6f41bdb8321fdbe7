"""A whole source for each family of APIs: copy one into ``sources/`` and change the names.

Each is run by ``tests/examples/test_families.py`` against a small server of its family.
"""
