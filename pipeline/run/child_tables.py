"""Child tables at the commit: their rows leave the files of their parents for files of their own.

Up to here they lie in a column of the parent (``pipeline.decode.nested_tables``), so that nothing
has to keep the two together. Files are taken apart in order, each by one write of the checkpoint: a
file without the column has been taken apart by an earlier attempt.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.columns import EXTRACTED_AT
from pipeline.config.endpoint import Endpoint
from pipeline.config.tables import POSITION, TableColumn
from pipeline.decode.base import Decoder
from pipeline.decode.body_checks import ConversionCounts
from pipeline.decode.coerce import cell
from pipeline.decode.nested_tables import ROW_NUMBER, list_column
from pipeline.decode.types import describe, parse_type, schema_of
from pipeline.errors import ContractBroken
from pipeline.extract.pages import rows_that_meet
from pipeline.extract.plan import decoder_of
from pipeline.lake.attempt import Attempt, TableFile
from pipeline.lake.files import again_if_vanished, key_batches, tables_of
from pipeline.lake.manifest import Manifest, ManifestTable
from pipeline.lake.parquet import encode
from pipeline.lake.stores.base import ObjectStore
from pipeline.run.context import RunContext
from pipeline.run.verify import CONTIGUOUS, Check, refuse_if_broken, verify

_NO_LISTS: Final = (
    "none of the {:,} rows has a list at `{}`, so that the table `{}` has no rows. Check: its "
    "`rows`"
)


def decoder_with_tables(
    run: RunContext, endpoint: str, staged: pa.Schema | None, known: pa.Schema | None
) -> Decoder:
    """The decoder of an endpoint's pages, with the rows of its child tables.

    :param staged: the schema of the rows that are staged. :param known: of the rows so far, without
        the columns of tables.
    """
    source, spec = run.source, run.source.endpoints[endpoint]
    newest = run.index.latest(source.source, endpoint) if spec.tables else None
    return decoder_of(
        spec,
        source.limits.max_body_bytes,
        known,
        _known_tables(spec, staged, newest),
        label=f"{source.source}/{endpoint}",
        salt=source.hash_salt.get_secret_value() if source.hash_salt else "",
    )


def _known_tables(
    endpoint: Endpoint, staged: pa.Schema | None, newest: Manifest | None
) -> dict[str, pa.Schema]:
    """By table, the columns so far: of the rows that are staged, else of the newest partition."""
    known: dict[str, pa.Schema] = {}
    for name, table in endpoint.tables.items():
        column = list_column(name)
        if staged is not None and column in staged.names:
            known[name] = pa.schema([*staged.field(column).type.value_type])
        elif newest is not None and name in newest.tables:
            ours = {*table.added, EXTRACTED_AT}
            with suppress(ValueError):  # somebody has edited it: the types are inferred anew
                columns = schema_of(newest.tables[name].columns)
                known[name] = pa.schema([field for field in columns if field.name not in ours])
    return known


def rows_of_table(parents: pa.Table, endpoint: Endpoint, name: str) -> pa.Table:
    """The rows of a table: those of the first parent first, each list in its order.

    :param parents: rows with the column of the table.
    :raises ContractBroken: a value of the parent does not fit the type of its column.
    """
    chunks = parents.column(list_column(name)).combine_chunks()
    lists = chunks if isinstance(chunks, pa.Array) else pa.concat_arrays(chunks.chunks)
    items = lists.flatten()
    own = {field.name: items.field(field.name) for field in items.type}
    numbers, of_parent = own.pop(ROW_NUMBER), pc.list_parent_indices(lists)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for column, spec in endpoint.tables[name].columns.items():
        if spec.parent_column is not None:
            columns[column] = _of_parent(column, spec, parents, of_parent)
        elif spec.from_ == POSITION:
            columns[column] = numbers.cast(parse_type(spec.type).arrow)
        elif spec.value is not None:
            kind = parse_type(spec.type)
            value = pa.scalar(cell(spec.value, kind, ConversionCounts()), kind.arrow)
            columns[column] = pa.repeat(value, len(items))
        else:
            columns[column] = own.pop(column)
    return pa.table({**columns, **own, EXTRACTED_AT: parents.column(EXTRACTED_AT).take(of_parent)})


def _of_parent(
    name: str, spec: TableColumn, parents: pa.Table, of_parent: pa.Array
) -> pa.Array | pa.ChunkedArray:
    kind = parse_type(spec.type).arrow
    if spec.parent_column not in parents.column_names:  # a key is inferred from its first row
        return pa.nulls(len(of_parent), kind)
    values = parents.column(spec.parent_column)
    try:
        return values.take(of_parent).cast(kind)
    except pa.ArrowException as error:
        raise ContractBroken(
            f"The column `{name}` is declared as `{spec.type}`, and the column "
            f"`{spec.parent_column}` of its endpoint is {values.type}: "
            f"{str(error).splitlines()[0]}. Check: its type in `tables`"
        ) from None


@dataclass
class ChildTables:
    """The child tables of a partition whose files are complete.

    :ivar warnings: sentences on tables that look wrong.
    """

    lake: ObjectStore
    endpoint: Endpoint
    attempt: Attempt
    label: str
    """``source/endpoint`` and the partition, for errors."""
    warnings: tuple[str, ...] = ()

    def split(self) -> None:
        """Take the files apart.

        :raises LostRace: another attempt has taken the partition over.
        """
        if self.endpoint.tables:
            again_if_vanished(self.lake, self._split, lambda: self.attempt.files)

    def _split(self) -> None:
        files = self.attempt.files
        without_list = {*self.endpoint.tables} if files else set[str]()
        for index, read in enumerate(tables_of(self.lake, files, own=True)):
            parents = read()
            present = [list_column(name) in parents.column_names for name in self.endpoint.tables]
            if not any(present):
                without_list.clear()  # what its lists were is not known any more
                continue
            tables = dict(self._taken_out(parents, without_list))
            rest = parents.drop_columns([*map(list_column, self.endpoint.tables)])
            self.attempt.replace_file(index, encode(rest), rows=rest.num_rows, tables=tables)
        count = sum(file.rows for file in files)
        self.warnings = tuple(
            _NO_LISTS.format(count, self.endpoint.tables[name].rows, name)
            for name in self.endpoint.tables
            if name in without_list
        )

    def _taken_out(
        self, parents: pa.Table, without_list: set[str]
    ) -> Iterator[tuple[str, TableFile]]:
        for name, table in self.endpoint.tables.items():
            if parents.column(list_column(name)).null_count < parents.num_rows:
                without_list.discard(name)
            rows = rows_of_table(parents, self.endpoint, name)
            some = rows_that_meet(rows, table.where, table.columns)
            if rows.num_rows:
                filtered_rows = rows.num_rows - some.num_rows
                yield name, TableFile(encode(some), some.num_rows, filtered_rows)

    def check(self) -> str:
        """Read the keys of the tables back. :return: what they prove, to be said of the partition.

        :raises ContractBroken: a key is null, or two rows have it.
        """
        return "".join(f"; {name}: {self._checked(name)}" for name in self.endpoint.tables)

    def _checked(self, name: str) -> str:
        key, files = self.endpoint.tables[name].key, self.attempt.table_files(name)

        def read() -> tuple[Check, ...]:
            return verify(
                lambda: key_batches(self.lake, files, [*key, EXTRACTED_AT]),
                key=key,
                cursor=None,
                window=self.attempt.window,
                expected_rows=sum(file.rows for file in files),
                proof=CONTIGUOUS,
            )

        unique, not_null, *_ = again_if_vanished(self.lake, read, lambda: files)
        hint = (
            f"The key of the table `{name}` is `{'`, `'.join(key)}`. Check: 1. whether that tells "
            "the rows of all parents apart: put the parent's key into it, or the number in the "
            f"list (`from: position`); 2. `tables.{name}.key: none`, if its rows have no key"
        )
        refuse_if_broken((unique, not_null), f"{self.label}, table `{name}`", hint=hint)
        return unique.detail

    def manifest(self, schema: pa.Schema, newest: Manifest | None) -> dict[str, ManifestTable]:
        """What the manifest says of the tables, but for their files.

        :param schema: of the rows as they are staged.
        :param newest: whose columns stay known, though no row of this partition has them.
        """
        tables = {}
        for name, table in self.endpoint.tables.items():
            columns = describe(rows_of_table(schema.empty_table(), self.endpoint, name).schema)
            names = {column["name"] for column in columns}
            before = newest.tables[name].columns if newest and name in newest.tables else ()
            tables[name] = ManifestTable(
                columns=(*columns, *(c for c in before if c["name"] not in names)),
                key=table.key,
                parent=table.parent_key,
            )
        return tables
