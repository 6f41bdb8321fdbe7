"""``query``: SQL over exactly the committed files, by DuckDB.

``source.endpoint`` has the rows of all committed partitions, with their ``dt``;
``source.endpoint_current`` has one row a key; a child table is ``source.endpoint_table``. Only the
tables that the SQL names are opened.
"""

import difflib
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from commands.choice import is_endpoint
from commands.lake_table import committed_endpoints
from pipeline.errors import ConfigError, ReadRefused
from pipeline.lake.index import ManifestIndex
from pipeline.lake.read import current, dataset
from pipeline.lake.stores.base import ObjectStore

_CURRENT = "_current"
_AT_ONCE = 16
_LISTING = re.compile(r"\s*(?:show\s+(?:all\s+)?tables)?\s*;?\s*", re.IGNORECASE)
"""Only the tables that a query names are open, so DuckDB itself would list none."""
_UNTRUE = re.compile(r' because schema "[^"]*" does not exist|!?\nDid you mean "[^"]*"\?')
"""What DuckDB says of a table that is not there: only the tables of the SQL are made known to it,
so that a schema that is missing, or a table of its own, is no reason and no remedy."""
_OF_DUCKDB = frozenset({"information_schema", "memory", "pg_catalog", "system", "temp"})
"""Its databases and schemas: a table there would be another's, or ambiguous."""
_TABLE = re.compile(r'\b(?:from|join)\s+"?([a-z]\w*)"?\s*\.\s*"?([a-z]\w*)"?', re.IGNORECASE)


def run(
    lake: ObjectStore, sql: str, *, csv: bool = False, as_json: bool = False, parquet: str | None
) -> int:
    """Print the result of a query, or write it into a file.

    :param sql: nothing, or ``SHOW TABLES``: the tables that there are.
    :raises ConfigError: DuckDB is not installed.
    :raises ReadRefused: DuckDB does not take the SQL, or a table has nothing committed.
    """
    try:
        import duckdb
    except ImportError:
        raise ConfigError("query needs DuckDB: run `make install`, or pip install duckdb") from None
    with duckdb.connect() as connection:
        known = _tables(lake)
        try:
            if _LISTING.fullmatch(sql):
                relation: Any = connection.sql('SELECT unnest(?) AS "table"', params=[[*known]])
            else:
                _open_tables(connection, lake, sql, known)
                relation = connection.sql(sql)
            if relation is None:  # a statement without a result
                return 0
            if parquet:
                relation.write_parquet(parquet)
            elif csv:
                sys.stdout.write(_csv(relation))
            elif as_json:
                for row in relation.fetchall():
                    named = dict(zip(relation.columns, row, strict=True))
                    sys.stdout.write(json.dumps(named, ensure_ascii=False, default=str) + "\n")
            else:
                relation.show(max_rows=200, max_width=160)
        except duckdb.Error as error:
            tables = ", ".join(f"`{name}`" for name in known) or "none: nothing is committed"
            missing = isinstance(error, duckdb.CatalogException)
            strangers = _not_there(sql, [*known]) if missing else []
            empty = "".join(f" {text}" for text in strangers)
            reason = str(error).partition("\n\nLINE ")[0]  # the query with a caret, over lines
            reason = _UNTRUE.sub("", reason) if strangers else reason
            reason = " ".join(reason.split()).rstrip(".!")
            raise ReadRefused(
                f"DuckDB refused the query: {reason}.{empty} Tables: {tables}"
            ) from None
    return 0


def _tables(lake: ObjectStore) -> dict[str, tuple[str, str]]:
    """The names of all tables that there are in SQL, each with its source and endpoint."""
    tables = {}
    for source, endpoint in _with_tables(lake):
        name = f"{_schema(source)}.{endpoint.replace('/', '_')}"
        tables[name] = tables[name + _CURRENT] = (source, endpoint)
    return tables


def _open_tables(
    connection: Any, lake: ObjectStore, sql: str, tables: Mapping[str, tuple[str, str]]
) -> None:
    """Make a view of each table that the SQL names."""
    for name, (source, endpoint) in tables.items():
        schema, _, table = name.partition(".")
        if not _is_named(sql, schema, table):
            continue
        if table == endpoint.replace("/", "_"):
            rows: Any = dataset(lake, source, endpoint, dt=True)
        else:
            rows = current(lake, source, endpoint)
        connection.register(f"__{schema}__{table}", rows)
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(schema)}")
        connection.execute(
            f"CREATE VIEW {_quoted(schema)}.{_quoted(table)} AS "  # noqa: S608  quoted names
            f"SELECT * FROM {_quoted(f'__{schema}__{table}')}"
        )


def _schema(source: str) -> str:
    """The schema of a source's tables: its name, but where DuckDB has that for its own."""
    return f"{source}_" if source in _OF_DUCKDB else source


def _with_tables(lake: ObjectStore) -> Iterator[tuple[str, str]]:
    """The endpoints that are committed, each before the tables of its newest partition."""
    index, endpoints = ManifestIndex(lake), committed_endpoints(lake)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        names = sorted(endpoints)
        newest = pool.map(lambda name: index.get(name[0], name[1], endpoints[name][-1]), names)
        for (source, endpoint), manifest in zip(names, newest, strict=True):
            yield source, endpoint
            for table in manifest.tables if manifest else ():
                yield source, f"{endpoint}/{table}"


def _not_there(sql: str, known: Sequence[str]) -> list[str]:
    """A sentence on each table of the SQL that is not there: how to load it, if a source has such
    an endpoint; else the table that it may have meant."""
    named = {f"{source}.{table}".lower() for source, table in _TABLE.findall(sql)}
    sentences = []
    for name in sorted(named - {*known}):
        endpoint = name.removesuffix(_CURRENT)
        source, _, table = name.partition(".")
        if f"{_schema(source)}.{table}" in known:
            sentences.append(
                f"DuckDB has a `{source}` of its own: say `{_schema(source)}.{table}`."
            )
        elif is_endpoint(endpoint.replace(".", "/")):
            sentences.append(
                f"Of `{endpoint}` nothing is committed: "
                f"`./headrace load {endpoint.replace('.', '/')}`."
            )
        elif meant := difflib.get_close_matches(name, known, n=1):
            sentences.append(f"Did you mean `{meant[0]}`?")
        else:
            sentences.append(
                f"Of `{endpoint}` nothing is committed, and no source that loads has it."
            )
    return list(dict.fromkeys(sentences))


def _is_named(sql: str, source: str, table: str) -> bool:
    return re.search(rf'\b"?{source}"?\s*\.\s*"?{table}"?(?!\w)', sql, re.IGNORECASE) is not None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _csv(relation: Any) -> str:
    """The rows as CSV; lists and objects are JSON."""
    rows, buffer = relation.to_arrow_table(), io.BytesIO()
    for at, of in enumerate(rows.schema):
        if not pa.types.is_nested(of.type):
            continue
        texts = [
            None if value is None else json.dumps(value, ensure_ascii=False, default=str)
            for value in rows.column(at).to_pylist()
        ]
        rows = rows.set_column(at, of.name, pa.array(texts, pa.string()))
    pa_csv.write_csv(rows, buffer)
    return buffer.getvalue().decode()
