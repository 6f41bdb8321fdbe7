"""``python -m sourcetool check SOURCE``, ``… new URL``, ``… new --from FILE``, ``… catalogue DIR``,
``… reference [FOLDER]``, ``… validate``, ``… cache --list``, ``… cache --clear``,
``… sweeps SOURCE/ENDPOINT [--take-back INSTANT]``."""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from sourcetool.aws_new import PREFIX as AWS
from sourcetool.aws_new import new_aws
from sourcetool.catalogue import catalogue
from sourcetool.check import Wanted, check
from sourcetool.deployment import cache, sweeps, validate
from sourcetool.import_source import import_source
from sourcetool.new import new
from sourcetool.new_request import Key, RequestOptions
from sourcetool.reference import reference, write_reference


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sourcetool", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser(
        "check", help="fetch two pages of each endpoint, and say what is doubtful"
    )
    verb.add_argument("source", help="a YAML file, or the name of a source")
    verb.add_argument("--endpoint", action="append", default=[], help="only this one (repeatable)")
    verb.add_argument("--pages", type=int, default=2)
    verb.add_argument("--days", type=float, default=1.0, help="how far back the window begins")
    verb.add_argument("--rows", type=int, default=0, help="read until so many rows have come")
    verb.add_argument("--into", help="a Parquet file for the rows of one endpoint")
    verb.add_argument("--json", action="store_true", help="the verdict for programs")
    _add_new(verbs)
    verb = verbs.add_parser(
        "catalogue", help="of a folder of manifests: what converts and loads, and why the rest not"
    )
    verb.add_argument("folder")
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", default="table")
    form.add_argument("--markdown", dest="form", action="store_const", const="markdown")
    verb = verbs.add_parser("reference", help="every key of the YAML, as Markdown")
    verb.add_argument("folder", nargs="?", type=Path, help="write its pages there; else print them")
    verbs.add_parser(
        "validate", help="load all sources of HEADRACE_SOURCES: exit code 1 if one can't"
    )
    verb = verbs.add_parser("cache", help="list or clear the cached responses in HEADRACE_CACHE")
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true")
    what.add_argument("--clear", action="store_true")
    verb.add_argument("--source", help="only of this source")
    verb.add_argument("--pattern", help="only SOURCE/PATH that has this text or matches this glob")
    verb = verbs.add_parser(
        "sweeps", help="list the recorded sweeps of an endpoint, or take one back"
    )
    verb.add_argument("endpoint", help="SOURCE/ENDPOINT, in HEADRACE_LAKE")
    verb.add_argument("--take-back", metavar="INSTANT", help="remove the record of this sweep")
    return parser


def _add_new(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = verbs.add_parser(
        "new", help="ask a URL for one page, and propose the YAML of its source"
    )
    verb.add_argument(
        "url", nargs="?", help="with the API's own parameters, e.g. …/items?per_page=100&page=1"
    )
    verb.add_argument("--from", dest="document", help="a manifest, an OpenAPI document, a HAR file")
    verb.add_argument("--curl", help="a curl command, in quotes")
    verb.add_argument("--endpoints", default="", help="of a document: only these, with commas")
    verb.add_argument("--name", help="of the source; default: from the host")
    verb.add_argument("--folder", default="sources")
    verb.add_argument("--key-header", default="X-Api-Key", help="the header that carries a key")
    verb.add_argument("--key-setting", help="the environment variable that holds the key")
    verb.add_argument("--basic", help="USER_SETTING:PASSWORD_SETTING, two environment variables")
    verb.add_argument(
        "--header", action="append", default=[], help="'Name: value', or 'Name: ${SETTING}'"
    )
    verb.add_argument("--json", help="a JSON object: the body of a POST")
    verb.add_argument("--form", help="a=1&b=2: the form of a POST")
    verb.add_argument("--method", help="GET or POST; default: POST if there is a body")


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.verb == "reference":
        if options.folder is None:
            sys.stdout.write("\n".join(reference().values()))
        else:
            write_reference(options.folder)
        return 0
    console = Console(soft_wrap=True)
    if options.verb == "check":
        wanted = Wanted(
            options.endpoint, options.pages, options.days, options.rows, options.into, options.json
        )
        return check(options.source, wanted, console)
    if options.verb == "validate":
        return validate(console)
    if options.verb == "cache":
        return cache(options.source, options.pattern, console, clearing=options.clear)
    if options.verb == "sweeps":
        return sweeps(options.endpoint, options.take_back, console)
    if options.verb == "catalogue":
        return catalogue(options.folder, options.form, console)
    # `make new-source` hands them on so: a shell and make would each change a text with a $ in it.
    options.url = options.url or os.environ.get("NEW_SOURCE_URL")
    options.document = options.document or os.environ.get("NEW_SOURCE_FROM")
    options.curl = options.curl or os.environ.get("NEW_SOURCE_CURL")
    if options.document or options.curl:
        only = [name.strip() for name in options.endpoints.split(",") if name.strip()]
        return import_source(
            options.document, options.curl, options.name, options.folder, only, console
        )
    if options.url and options.url.startswith(AWS):
        return new_aws(options.url, console)
    if not options.url:
        parser.error("new: expected a URL, --from FILE or --curl 'curl …'")
    key = Key(options.key_header, options.key_setting) if options.key_setting else None
    request = RequestOptions(
        options.url,
        key,
        basic=options.basic,
        headers=tuple(options.header),
        json=options.json,
        form=options.form,
        method=options.method,
    )
    return new(options.url, options.name, options.folder, console, request)


if __name__ == "__main__":
    sys.exit(main())
