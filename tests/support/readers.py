"""A decoder of JSON pages for tests."""

import pyarrow as pa

from pipeline.decode import DEFAULT_FORMAT, Decoder
from pipeline.decode.shape import Shape


def reader_of(shape: Shape, known: pa.Schema | None = None) -> Decoder:
    """One that calls its pages those of ``igdb/games``."""
    return DEFAULT_FORMAT.decoder(shape, known, label="igdb/games")
