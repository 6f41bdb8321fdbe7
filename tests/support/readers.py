"""A reader of pages for tests."""

import pyarrow as pa

from pipeline.decode.reader import PageReader, Shape


def reader_of(shape: Shape, known: pa.Schema | None = None) -> PageReader:
    """One that calls its pages those of ``igdb/games``."""
    return PageReader(shape, known, where="igdb/games")
