"""``./headrace COMMAND``: the arguments, and which module does the work."""

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial

from commands import dagster_runs, lake_table, query, state
from commands.verify import verify
from local.paths import ROOT, STATE, UI_STATE
from local.process import LocalError
from pipeline.config.settings import Settings
from pipeline.errors import HeadraceError
from pipeline.lake.stores.base import ObjectStore, open_lake
from pipeline.run.deletions import SweptKeys, keys_of_sweep, recorded_sweeps

_LAKE = "Reads HEADRACE_LAKE, and AWS's variables as boto3 does."
_CODES = """exit codes:
  0  done, or shown
  1  nothing is there, something is damaged, or the run failed
  2  refused: a setting is missing, a name is wrong, a run is writing the partition

example:
  ./headrace load igdb/games --days 2026-11-01...2026-11-07"""
_WIDTH = 80
_LAKE_SETTING = "HEADRACE_LAKE"
_SETTINGS_FILES = {
    "`make ui`": UI_STATE / "env",
    "`python -m examples.shop`": STATE / "shop" / "env",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. :return: its exit code."""
    parser = _parser()
    args, unknown = parser.parse_known_args(arguments)
    if "run" not in args:  # no command at all: what there is
        parser.print_help(sys.stderr)
        return 2
    if unknown:  # with the usage of the command, not of all commands
        args.of.error(f"unrecognized arguments: {' '.join(unknown)}")
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except (HeadraceError, LocalError) as error:
        print(f"headrace: {error}{_settings_here(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has gone
        sys.stderr.close()
        return 0


def _settings_here(error: Exception) -> str:
    """Where a shell gets the lake's setting on this machine, if the error is that it has none."""
    if os.environ.get(_LAKE_SETTING, "").strip() or _LAKE_SETTING not in str(error):
        return ""
    files = [
        f"`. {file.relative_to(ROOT)}` sets it for {server}"
        for server, file in _SETTINGS_FILES.items()
        if file.exists()
    ]
    return ". " + "; ".join([*files, "docs/how-to/run.md has all settings"])


def opened_lake() -> ObjectStore:
    """The lake of the environment. :raises ConfigError: it is not set, or no lake can lie there."""
    lake = open_lake(Settings.read(os.environ).lake)
    lake.check()
    return lake


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headrace",
        description="See a lake, query it, and load it.",
        epilog=_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(metavar="COMMAND")

    verb = _verb(verbs, "lake", "what is committed, a line a partition", "lake igdb/games --last 3")
    verb.add_argument("what", nargs="?", default="", metavar="SOURCE[/ENDPOINT]")
    verb.add_argument("--last", type=_some, default=7, metavar="N", help="of each endpoint (7)")
    verb.add_argument("--all", action="store_true", help="every partition")
    verb.add_argument("--json", action="store_true", help="the manifests, one JSON object a line")
    verb.set_defaults(
        run=lambda args: lake_table.show(
            opened_lake(), args.what, None if args.all else args.last, as_json=args.json
        )
    )

    verb = _verb(
        verbs,
        "query",
        "SQL over exactly the committed files, by DuckDB. igdb.games has the rows of all "
        "partitions, with their dt; igdb.games_current one row a key. Without SQL: the tables",
        "query 'SELECT count(*) FROM igdb.games_current'",
    )
    verb.add_argument("sql", nargs="?", default="", metavar="SQL")
    verb.add_argument("--csv", action="store_true", help="as CSV")
    verb.add_argument("--json", action="store_true", help="one JSON object a row")
    verb.add_argument("--parquet", metavar="FILE", help="into a Parquet file")
    verb.set_defaults(
        run=lambda args: query.run(
            opened_lake(), args.sql, csv=args.csv, as_json=args.json, parquet=args.parquet
        )
    )

    _add_verify(verbs)
    verb = _verb(
        verbs,
        "load",
        "materialize partitions with Dagster, and log only what the assets say",
        "load igdb/games --days 2026-11-01...2026-11-07",
    )
    verb.add_argument("what", metavar="SOURCE[/ENDPOINT]")
    verb.add_argument(
        "--days", metavar="A[...B]", help="one, or the first and the last; default: today's"
    )
    verb.add_argument(
        "--json", action="store_true", help="the manifests on standard output, the log beside it"
    )
    verb.set_defaults(run=_load)

    _add_sweep(verbs)
    _add_backfill(verbs)
    _add_sync(verbs)
    _add_state(verbs)
    return parser


def _some(text: str) -> int:
    """A number of partitions. :raises argparse.ArgumentTypeError: it is none from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, found `{text}`")
    return int(text)


def _add_sweep(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _verb(
        verbs, "sweep", "record the keys that are gone from the API", "sweep shop/customers"
    )
    verb.add_argument("what", metavar="SOURCE/ENDPOINT")
    verb.add_argument(
        "--json",
        action="store_true",
        help="one JSON object on standard output: how many keys are gone, and back",
    )
    verb.set_defaults(run=_sweep)


def _add_sync(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _verb(
        verbs,
        "sync",
        "record with Dagster what the lake has, from the manifests, without reading the API",
        "sync igdb",
    )
    verb.add_argument("source", nargs="?", default="", metavar="SOURCE")
    verb.add_argument(
        "--json",
        action="store_true",
        help="one JSON object on standard output: how many partitions were recorded, and before",
    )
    verb.set_defaults(run=lambda args: dagster_runs.sync(args.source, quiet=args.json))


def _add_state(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parent = _verb(
        verbs,
        "state",
        "what is kept of a source, and how to take it back: show, drop, reload",
        "state show igdb",
    )
    kinds = parent.add_subparsers(required=True, metavar="show | drop | reload")
    verb = _verb(
        kinds, "show", "what is committed, and what runs have staged", "state show igdb/games"
    )
    verb.add_argument("what", nargs="?", default="", metavar="SOURCE[/ENDPOINT]")
    verb.add_argument("--json", action="store_true", help="one JSON object an endpoint")
    verb.set_defaults(run=lambda args: state.show(opened_lake(), args.what, as_json=args.json))
    for name, about, example, does in (
        (
            "drop",
            "take partitions out of the lake, each at once; without --yes, only say which",
            "state drop shop/orders --days 2026-11-01...2026-11-07 --yes",
            state.drop_partitions,
        ),
        (
            "reload",
            "read committed partitions from the API again; readers see the old rows until each is "
            "replaced; without --yes, only say which",
            "state reload shop/orders --days 2026-11-01 --yes",
            state.reload,
        ),
    ):
        verb = _verb(kinds, name, about, example)
        verb.add_argument("what", metavar="SOURCE[/ENDPOINT]")
        verb.add_argument(
            "--days", metavar="A[...B]", help="one, or the first and the last; default: all"
        )
        verb.add_argument("--yes", action="store_true", help="do it")
        verb.add_argument(
            "--staged", action="store_true", help="what a dead run has staged goes, too"
        )
        verb.add_argument("--json", action="store_true", help="one JSON object a partition")
        verb.set_defaults(run=partial(_change, does))


def _change(does: Callable[..., int], args: argparse.Namespace) -> int:
    return does(
        opened_lake(),
        args.what,
        args.days,
        yes=args.yes,
        staged=args.staged,
        as_json=args.json,
    )


def _load(args: argparse.Namespace) -> int:
    days = dagster_runs.partitions_of(args.what, args.days)  # once: midnight may pass
    opened_lake()  # one that can't be written is said before Dagster starts
    code = dagster_runs.load(args.what, "...".join(days), quiet=args.json)
    if code or not args.json:
        return code
    return lake_table.show(opened_lake(), args.what, None, as_json=True, between=days)


def _sweep(args: argparse.Namespace) -> int:
    if not args.json:
        return dagster_runs.sweep(args.what)
    lake = opened_lake()
    source, _, endpoint = args.what.partition("/")
    earlier = recorded_sweeps(lake, source, endpoint)
    code = dagster_runs.sweep(args.what, quiet=True)
    if code:
        return code
    later = [at for at in recorded_sweeps(lake, source, endpoint) if at not in earlier]
    keys = keys_of_sweep(lake, source, endpoint, later[-1]) if later else SweptKeys(0, 0)
    swept_at = later[-1] if later else None
    names = {"source": source, "endpoint": endpoint, "swept_at": swept_at}
    print(json.dumps({**names, "gone": keys.deleted, "back": keys.back}))
    return 0


def _add_backfill(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _verb(
        verbs,
        "backfill",
        "queue a run a partition of the source's daily job; `dagster dev` executes them",
        "backfill igdb --days 2026-11-01...2026-11-30",
    )
    verb.add_argument("source", metavar="SOURCE")
    verb.add_argument("--days", required=True, metavar="A...B", help="the first and the last")
    verb.add_argument(
        "--json",
        action="store_true",
        help="one JSON object on standard output: the backfill's id and job",
    )
    verb.set_defaults(
        run=lambda args: dagster_runs.backfill(args.source, args.days, quiet=args.json)
    )


def _add_verify(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _verb(
        verbs,
        "verify",
        "read every committed file, hold it against its checksum, and name what is damaged",
        "verify igdb/games --partition 2026-11-20",
    )
    verb.add_argument("what", nargs="?", default="", metavar="SOURCE[/ENDPOINT]")
    verb.add_argument("--partition", action="append", default=[], help="only this one (repeatable)")
    verb.add_argument("--json", action="store_true", help="one JSON object an endpoint")
    verb.set_defaults(
        run=lambda args: verify(opened_lake(), args.what, args.partition, as_json=args.json)
    )


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    about: str,
    example: str,
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(
        name,
        help=about,
        description=textwrap.fill(f"{about}.", _WIDTH),
        epilog=f"example:\n  ./headrace {example}\n\n{_LAKE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(of=verb)
    return verb


if __name__ == "__main__":
    sys.exit(main())
