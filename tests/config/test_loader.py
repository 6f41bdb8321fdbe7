"""A source's YAML: each mistake is one sentence with file and line, and nothing else ever comes."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.auth.bearer import BearerTokenAuth
from pipeline.config import Source, load_all, load_source, loader
from pipeline.config.json_schema import source_schema
from pipeline.config.request import WindowFormat
from pipeline.errors import ConfigError
from tests.support.thorough import THOROUGH
from tests.support.yaml_sources import source_of

ROOT = Path(__file__).parents[2]
IGDB = ROOT / "sources" / "igdb.yaml"
ENV = {"IGDB_CLIENT_ID": "my-id", "IGDB_CLIENT_SECRET": "s3cret-of-igdb"}
HEAD = "source: api\nbase_url: https://a.test\nstart: 2026-11-01\n"
TAIL = "endpoints:\n  things: {key: [id]}\n"


def words(text: str) -> list[str]:
    return text.split()


SNAPSHOTS = words(
    """
age_ratings age_rating_content_descriptions alternative_names artworks character_mug_shots
company_logos company_websites covers game_engine_logos game_version_features
game_version_feature_values game_videos multiplayer_modes platform_families platform_logos
platform_versions platform_version_companies platform_websites screenshots websites
"""
)
INCREMENTAL = words(
    """
age_rating_categories age_rating_content_descriptions_v2 age_rating_organizations characters
character_genders character_species collections collection_memberships
collection_membership_types collection_relations collection_relation_types collection_types
companies company_statuses date_formats events event_logos event_networks external_games
external_game_sources franchises games game_engines game_localizations game_modes
game_release_formats game_statuses game_time_to_beats game_types game_versions genres
involved_companies keywords languages language_supports language_support_types network_types
platforms platform_types platform_version_release_dates player_perspectives
popularity_primitives popularity_types regions release_dates release_date_regions
release_date_statuses themes website_types
"""
)


def said(tmp_path: Path, yaml_text: str | bytes, env: dict[str, str] | None = None) -> str:
    """What is said of a file, without its path."""
    file = tmp_path / "api.yaml"
    data = yaml_text.encode() if isinstance(yaml_text, str) else yaml_text
    file.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_source(file, env or {})
    return str(caught.value).replace(f"{file}:", "")


MISTAKES: dict[str, tuple[str | bytes, str]] = {
    "unknown key": (
        HEAD + "saftey_margin_s: 3\n" + TAIL,
        "4: saftey_margin_s: 'saftey_margin_s' is not a known key: did you mean 'safety_margin_s'?",
    ),
    "unknown key, nothing near": (
        HEAD + "qwxz: 3\n" + TAIL,
        "4: qwxz: 'qwxz' is not a known key: take it away",
    ),
    "unknown key inside": (
        HEAD + "auth: {kind: api_key, name: X, kye: s3cret}\n" + TAIL,
        "4: auth.kye: 'kye' is not a known key: did you mean 'key'?",
    ),
    "a key of the endpoint in the request": (
        HEAD + "endpoints:\n  a:\n    key: [id]\n    request: {dialect: http, path: /a}\n",
        "7: endpoints.a.request.path: 'path' is not a known key here: it belongs to an endpoint "
        "itself, beside its key and its request",
    ),
    "a key of the source in the endpoint": (
        HEAD + "endpoints:\n  a:\n    key: [id]\n    timezone: UTC\n",
        "7: endpoints.a.timezone: 'timezone' is not a known key here: it belongs to the source "
        "itself, beside base_url and endpoints",
    ),
    "a key of the limits in the source": (
        HEAD + "in_flight: 3\n" + TAIL,
        "4: in_flight: 'in_flight' is not a known key here, but elsewhere: "
        "see docs/sources-reference",
    ),
    "a key near to one that belongs here, and that belongs elsewhere": (
        HEAD + "limits: {window: [{requests: 4, per_s: 1}]}\n" + TAIL,
        "4: limits.window: 'window' is not a known key: did you mean 'windows'?",
    ),
    "unknown key, few are known": (
        HEAD + "limits: {windows: [{requests: 4, per_s: 1, zzz: 1}]}\n" + TAIL,
        "4: limits.windows.0.zzz: 'zzz' is not a known key: expected per_s, requests",
    ),
    "unknown key of one kind of many": (
        HEAD + "endpoints:\n  a:\n    key: [id]\n    paging: {kind: none, size: 10}\n",
        "7: endpoints.a.paging.size: 'size' is not a known key: expected kind, limit",
    ),
    "a mapping where a list belongs": (
        HEAD + "limits: {windows: {requests: 4, per_s: 1}}\n" + TAIL,
        "4: limits.windows: expected a list",
    ),
    "port": (
        "source: api\nbase_url: http://127.0.0.1:99999/v1\nstart: 2026-11-01\n" + TAIL,
        "2: base_url: expected a host name, and a port up to 65535 if there is one",
    ),
    "host": (
        "source: api\nbase_url: http://a..b/v4\nstart: 2026-11-01\n" + TAIL,
        "2: base_url: expected a host name, and a port up to 65535 if there is one",
    ),
    "no host": (
        HEAD + "auth: {kind: oauth2_client_credentials, token_url: 'https:/x', client_id: a, "
        "client_secret: b}\n" + TAIL,
        "4: auth.token_url: expected a host name, and a port up to 65535 if there is one",
    ),
    "missing": (
        "source: api\nstart: 2026-11-01\n" + TAIL,
        "1: the file: 'base_url' is missing: add it",
    ),
    "missing inside": (
        HEAD + "endpoints:\n  things:\n",
        "5: endpoints.things: 'key' is missing: add it",
    ),
    "wrong type": (
        HEAD + "safety_margin_s: [1]\n" + TAIL,
        "4: safety_margin_s: input should be a valid number",
    ),
    "no number": (
        HEAD + "safety_margin_s: soon\n" + TAIL,
        "4: safety_margin_s: input should be a valid number, unable to parse string as a number",
    ),
    "column type": (
        HEAD + "endpoints:\n  a:\n    key: [id]\n    columns:\n      n: int65\n",
        "8: endpoints.a.columns.n: type 'int65'",
    ),
    "cursor": (
        HEAD + "endpoints:\n  a:\n    key: [id]\n    cursor: updated\n",
        "5: endpoints.a: the cursor `updated` needs a declared type, e.g. `columns: {updated: "
        "'timestamp[s]'}`",
    ),
    "cursor that is no time": (
        HEAD + "endpoints:\n  a: {key: [id], cursor: n, columns: {n: double}}\n",
        "5: endpoints.a: the cursor `n` is declared as `double`: expected `date` or a timestamp",
    ),
    "cursor without a window": (
        HEAD + "endpoints:\n  a: {key: [id], cursor: n, columns: {n: 'timestamp[s]'}}\n",
        "5: endpoints.a: an endpoint with a cursor needs the window in its request",
    ),
    "doubled": (
        HEAD + "start: 2026-11-02\n" + TAIL,
        "4: the key 'start' stands here twice: take one away",
    ),
    "tab": (
        HEAD + "\tx: 1\n" + TAIL,
        "4: this is not valid YAML: found character '\\t' that cannot start any token",
    ),
    "not YAML": (
        HEAD + "a: [1, 2\n",
        "5: this is not valid YAML: expected ',' or ']', but got '<stream end>'",
    ),
    "control character": (
        HEAD + "description: a\x07b\n",
        "4: this is not valid YAML: special characters are not allowed",
    ),
    "two documents": (
        HEAD + "---\n" + TAIL,
        "4: this is not valid YAML: but found another document",
    ),
    "empty": ("", "1: expected a mapping that starts with 'source: name'"),
    "comment": ("# later\n", "1: expected a mapping that starts with 'source: name'"),
    "list": ("- a\n", "1: expected a mapping that starts with 'source: name'"),
    "text": ("hello", "1: expected a mapping that starts with 'source: name'"),
    "unset": (
        HEAD.replace("https://a.test", "${API_URL}") + TAIL,
        "2: the environment variable API_URL is not set: set it, or give a default as "
        "${API_URL:-…}",
    ),
    "nested too deeply": ("a: " + "[" * 900, "1: this YAML is nested too deeply"),
    "itself": (HEAD + "endpoints: &a\n  x: *a\n", "1: this YAML is nested too deeply"),
    "laughs": (
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n"
            for a, b in zip("abcdef", "bcdefg", strict=True)
        ),
        "1: more than 100000 values. Check for aliases (`*name`) that multiply",
    ),
    "not UTF-8": (b"source: api\n# \xff\n", "2: this is not UTF-8 text"),
    "time zone": (
        HEAD + "timezone: Mars/Olympus\n" + TAIL,
        "4: timezone: expected an IANA time zone such as UTC or Europe/Berlin, got 'Mars/Olympus'",
    ),
    "no such day": (
        HEAD.replace("11-01", "02-30") + TAIL,
        "3: start: expected a day as YYYY-MM-DD, got 2026-02-30",
    ),
    "no day": (
        HEAD.replace("2026-11-01", "soon") + TAIL,
        "3: start: expected a day as YYYY-MM-DD, got soon",
    ),
    "a day and a time": (
        HEAD.replace("2026-11-01", "2026-11-01T07:00:00Z") + TAIL,
        "3: start: expected a day as YYYY-MM-DD",
    ),
    "before all time": (
        HEAD.replace("2026", "0001") + TAIL,
        "3: start: input should be greater than or equal to 1970-01-01",
    ),
    "slash": (
        HEAD + "endpoints:\n  a/b: {key: [id]}\n",
        "5: endpoints.a/b: expected a name of lower case letters, digits and _",
    ),
    "dots": (
        HEAD + "endpoints:\n  ..: {key: [id]}\n",
        "5: endpoints...: expected a name of lower case letters",
    ),
    "name of the source": (
        HEAD.replace("api", "../api", 1) + TAIL,
        "1: source: expected a name of lower case letters",
    ),
    "no endpoints": (
        HEAD + "endpoints: {}\n",
        "4: endpoints: dictionary should have at least 1 item",
    ),
    "credentials in the address": (
        HEAD.replace("https://", "https://me:hush-hush@") + TAIL,
        "2: base_url: expected https://host/path, without a query, and the credentials under auth",
    ),
    "unknown kind": (
        HEAD + "auth: {kind: basik}\n" + TAIL,
        "4: auth: auth has no kind `basik` (did you mean `basic`?): expected one of `api_key`,",
    ),
    "no kind": (
        HEAD + "auth: {key: hush-hush}\n" + TAIL,
        "4: auth: kind is missing: add one of `api_key`, `basic`",
    ),
    "header": (
        HEAD + "headers: {X-Key: 'hush\u2026hush'}\n" + TAIL,
        "4: headers.X-Key: a header has a line break or a letter beyond ASCII",
    ),
    "alias by mistake": (
        HEAD + "auth: {kind: bearer, token: *hush-hush}\n" + TAIL,
        "4: this is not valid YAML: a value that begins with * or ! needs quotes",
    ),
    "tag by mistake": (
        HEAD + "description: !hush-hush x\n" + TAIL,
        "4: this is not valid YAML: a value that begins with * or ! needs quotes",
    ),
    "merge key": (
        HEAD + "x: &a {b: 1}\ny:\n  <<: *a\n",
        "6: merge keys (<<) are not read: put what is shared under 'defaults'",
    ),
    "key that is a list": (HEAD + "? [a]\n: 2\n", "4: a key must be plain text"),
    "defaults": (
        HEAD + "defaults: 5\n" + TAIL,
        "4: defaults: expected a mapping of what endpoints share",
    ),
    "endless": (
        HEAD + "timeouts: {total_s: .inf}\n" + TAIL,
        "4: timeouts.total_s: input should be a finite number",
    ),
    "paging": (
        HEAD + "endpoints:\n  a: {key: [id], paging: {kind: offset, limit: 9}}\n",
        "5: endpoints.a: offset paging needs {offset} in the request",
    ),
    "query in a path": (
        HEAD + "endpoints:\n  a: {key: [id], path: 'x?y=1'}\n",
        "5: endpoints.a: `path` has a ? or #",
    ),
    "both bounds in one parameter": (
        HEAD
        + "endpoints:\n  a:\n    key: [id]\n    cursor: at\n    columns: {at: 'timestamp[iso]'}\n"
        "    request: {params: {filter: 'from:{start},to:{end}'}}\n",
        "5: endpoints.a: a baseline has no {start}, so that 'from:{start},to:{end}' would be "
        "left out",
    ),
    "a parent without the column": (
        HEAD + "endpoints:\n"
        "  a: {key: [ref], columns: {ref: int64, name: string}, infer: false}\n"
        "  b:\n    key: [id]\n    path: a/{parent}\n    parents: {endpoint: a}\n",
        "9: endpoints.b.parents: its parent `a` has no column `id`, and `infer` is false there: "
        "expected one of ref, name",
    ),
    "a parent whose column is a list": (
        HEAD + "endpoints:\n"
        "  a: {key: [ref], columns: {ref: int64, tags: list<string>}}\n"
        "  b:\n    key: [id]\n    path: a/{parent}\n    parents:\n      endpoint: a\n"
        "      column: tags\n",
        "11: endpoints.b.parents.column: `tags` of its parent `a` is declared as `list<string>`: "
        "expected a column of single values",
    ),
    "a key that is an object": (
        HEAD + "endpoints:\n  a: {key: [ref], columns: {ref: 'struct<id: int64>'}}\n",
        "5: endpoints.a: the key `ref` is declared as `struct<id: int64>`: expected columns of "
        "single values; for a member of an object, e.g. `ref: {type: int64, path: ref.id}`",
    ),
    "a key of too few digits": (
        HEAD + "endpoints:\n  a:\n    key: [price]\n    columns: {price: float}\n"
        "    request: {params: {gt: '{after}'}}\n    paging: {kind: keyset, limit: 5}\n",
        "5: endpoints.a: the key `price` is declared as `float`, which keeps too few digits to "
        "request the rows after one: declare `price: double`",
    ),
    "ranges": (
        HEAD + "endpoints:\n  a:\n    key: [id]\n    request: {params: {gt: '{after}'}}\n"
        "    paging: {kind: keyset, limit: 5, ranges: 4}\n",
        "5: endpoints.a: ranges of a keyset need {before} in the request",
    ),
    "seconds of the machine's zone": (
        HEAD + "endpoints:\n  a: {key: [id], window: {format: 'at:%s000'}}\n",
        "5: endpoints.a.window: `format: at:%s000` has %s, which counts in the time zone of the "
        "machine: write `format: epoch_s` for seconds since 1970, or `epoch_ms` for milliseconds",
    ),
    "the same with a flag": (
        HEAD + "endpoints:\n  a: {key: [id], window: {format: '%Y%-s'}}\n",
        "5: endpoints.a.window: `format: %Y%-s` has %s",
    ),
    "seconds that are cut": (
        HEAD + "endpoints:\n  a: {key: [id], window: {format: epoch_s, resolution_s: 0.5}}\n",
        "5: endpoints.a.window: `format: epoch_s` writes steps of 1 s: set `resolution_s: 1`",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_a_sentence_with_its_line(name: str, tmp_path: Path) -> None:
    text, sentence = MISTAKES[name]
    found = said(tmp_path, text)
    assert found.startswith(sentence), found
    assert "hush" not in found


def test_a_percent_sign_before_an_s_is_no_directive() -> None:
    assert WindowFormat(format="%%s-%S-s").format == "%%s-%S-s"


def digest(headers: str, env: dict[str, str] | None = None) -> str:
    text = f"{HEAD}headers: {{{headers}}}\nendpoints:\n  a: {{key: [id]}}\n"
    return source_of(text, env).definition("a")


def test_headers_of_the_source_are_in_what_decides_which_rows_there_are() -> None:
    one = digest("X-Tenant: one, X-B: b")
    assert one == digest("x-b: b, x-tenant: one"), "one header by another spelling"
    digests = [one, digest(""), digest("X-Tenant: two, X-B: b"), digest("X-Tenant: one")]
    assert len({*digests, digest("X-B: one, X-Tenant: b")}) == 5
    tenants = [digest("X-Tenant: '${TENANT}'", {"TENANT": name}) for name in ("one", "two")]
    assert tenants[0] != tenants[1]
    assert "one" not in one


@pytest.mark.parametrize("name", ["Authorization", "cookie", "Proxy-Authorization"])
def test_credentials_may_rotate(name: str) -> None:
    keys = [digest(f"{name}: '${{KEY}}'", {"KEY": key}) for key in ("old", "new")]
    assert keys[0] == keys[1] == digest("")


def test_what_is_said_of_an_endpoint_changes_none_of_its_rows() -> None:
    plain, told, other = (
        source_of(f"{HEAD}endpoints:\n  a: {{key: [id]{more}}}\n").definition("a")
        for more in (
            ", columns: {id: int64}",
            ", description: all, columns: {id: {type: int64, description: a number}}",
            ", columns: {id: string}",
        )
    )
    assert plain == told != other


def test_what_is_said_of_a_child_table_changes_none_of_its_rows() -> None:
    of = "{{key: [id], columns: {{id: int64}}, tables: {{t: {{rows: l, key: none, {}}}}}}}"
    column = "columns: {{p: {{type: {}, from: parent.id}}, n: {}}}"
    plain, told, other = (
        source_of(f"{HEAD}endpoints:\n  a: {of.format(text)}\n").definition("a")
        for text in (
            column.format("int64", "string"),
            f"description: lines, {column.format('int64', '{type: string, description: a name}')}",
            column.format("int64", "int64"),
        )
    )
    assert plain == told != other


def test_all_mistakes_of_a_file_are_said_at_once(tmp_path: Path) -> None:
    found = said(tmp_path, HEAD + "a: 1\nb: 2\ntimezone: X\n" + TAIL)
    assert [line.split(":")[0] for line in sorted(found.splitlines())] == ["4", "5", "6"]


def test_all_that_does_not_fit_in_an_endpoint_is_said_at_once(tmp_path: Path) -> None:
    text = HEAD + (
        "endpoints:\n"
        "  rooms: {key: [id]}\n"
        "  messages:\n"
        "    path: rooms/{parent}/messages\n"
        "    request: {params: {since: '{start}'}}\n"
        "    parents: {endpoint: rooms, column_here: room_id}\n"
        "    key: [id]\n"
        "    cursor: at\n"
        "    sweep: true\n"
    )
    found = said(tmp_path, text).splitlines()
    assert len(found) > 3
    for sentence in (
        "`room_id` needs a declared type",
        "`window: {end: none}`",
        "leave `sweep` out",
    ):
        assert any(sentence in line for line in found), found


def test_missing_settings_and_mistakes_are_said_together(tmp_path: Path) -> None:
    text = HEAD + (
        "auth: {kind: bearer, token: '${TOKEN}'}\ntimezone: '${ZONE}'\nsafety_margin_s: -1\n"
    )
    found = said(tmp_path, text + TAIL).splitlines()
    assert [line.split(" is not set")[0].split(":", 1)[0] for line in found] == ["4", "5", "6"]
    assert "TOKEN" in found[0]
    assert "ZONE" in found[1]
    assert "safety_margin_s" in found[2]


def test_many_unknown_keys_cost_one_schema_and_not_one_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    schema_of = BaseModel.model_json_schema.__func__  # type: ignore[attr-defined]

    def counted(model: type[BaseModel], /, **options: Any) -> dict[str, Any]:
        made.append(model.__name__)
        return dict(schema_of(model, **options))

    monkeypatch.setattr(BaseModel, "model_json_schema", classmethod(counted))
    loader._schema.cache_clear()
    keys = "".join(f"unknown_{n}: 1\n" for n in range(60))
    assert "and 30 more mistakes" in said(tmp_path, HEAD + keys + TAIL)
    assert len(made) <= 2


def test_of_several_sources_the_broken_ones_take_down_themselves_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = HEAD.replace("source: api", "source: other")
    (tmp_path / "a.yaml").write_text(HEAD + TAIL)
    (tmp_path / "b.yaml").write_text(other + "auth: {kind: bearer, token: '${TOKEN}'}\n" + TAIL)
    (tmp_path / "no-yaml.yaml").write_text("source: [")
    (tmp_path / "unfilled.yaml").write_text("${SOURCE_YAML}")
    (tmp_path / "ends.py").write_text("import sys; sys.exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    named = HEAD.replace("source: api", "source: ends")
    (tmp_path / "e.yaml").write_text(named + "endpoints: {a: {key: [id], transform: 'ends:x'}}\n")
    nul = HEAD.replace("source: api", "source: nul").replace("base_url: http", 'base_url: "http')
    (tmp_path / "n.yaml").write_text(re.sub(r"(base_url: .*)", r'\1/\\0"', nul) + TAIL)
    (tmp_path / "dir.yaml").mkdir()
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "twice.yaml").write_text(HEAD.replace("source: api", "source: twice") + TAIL)
    (tmp_path / "twice2.yaml").write_text(HEAD.replace("source: api", "source: twice") + TAIL)
    (tmp_path / "x.yaml").write_text("source: api\nbase_url: 5\n")
    (tmp_path / "y.yaml").write_text("source: same\nbase_url: 6\n")
    (tmp_path / "z.yaml").write_text("source: same\nbase_url: 7\n")
    found = load_all((str(tmp_path), str(tmp_path / "none.yaml")), {})
    assert [source.source for source in found.sources] == ["api"]
    assert len({each.name for each in found.broken}) == len(found.broken)
    broken = {each.name: each.reason for each in found.broken}
    others = {"ends", "nul", "dir", "gone", "api_broken", "same"}
    assert "y.yaml" in broken["same"]
    assert "z.yaml" in broken["same"]
    assert broken.keys() == {"other", "no_yaml", "unfilled", "twice", "none"} | others
    assert "its module fails with SystemExit" in broken["ends"]
    assert "base_url: expected a host name" in broken["nul"]
    assert "TOKEN is not set" in broken["other"]
    assert "this is not valid YAML" in broken["no_yaml"]
    assert "defined twice" in broken["twice"]


def test_a_users_function_is_looked_for_when_a_source_is_loaded(tmp_path: Path) -> None:
    text = HEAD + (
        "endpoints:\n"
        "  one: {key: [id], transform: 'no_such_rows:rows'}\n"
        "  two:\n"
        "    key: [id]\n"
        "    paging: {kind: python, path: 'no_such_pages:next', limit: 5}\n"
    )
    found = said(tmp_path, text).splitlines()
    assert "5: endpoints.one.transform: transform 'no_such_rows:rows' can't be imported" in found[0]
    assert "8: endpoints.two.paging.path: paging.path 'no_such_pages:next' can't" in found[1]


def test_mistakes_in_defaults_are_found_there_and_said_once(tmp_path: Path) -> None:
    text = HEAD + (
        "defaults:\n"
        "  key: [id]\n"
        "  paging:\n"
        "    kind: page\n"
        "    limit: x\n"
        "endpoints:\n"
        "  one: {request: {params: {p: '{page}'}}}\n"
        "  two:\n"
        "    batch_rows: 0\n"
    )
    assert said(tmp_path, text).splitlines() == [
        "8: defaults.paging.limit: input should be a valid integer, unable to parse string as an "
        "integer",
        "12: endpoints.two.batch_rows: input should be greater than or equal to 1",
    ]


def test_defaults_are_merged_and_null_takes_away() -> None:
    source = source_of(
        """
        source: api
        base_url: https://a.test
        start: 2026-11-01
        defaults:
          key: [id]
          cursor: at
          request: {params: {from: "{start}", to: "{end}"}}
          columns: {at: "timestamp[s]", id: int64}
        endpoints:
          one:
          two:
            cursor: null
            columns: {at: null, name: string}
            request: {params: {from: null, to: null}}
          three: {request: {dialect: apicalypse}}
        """
    )
    one, two, three = (source.endpoints[name] for name in ("one", "two", "three"))
    assert one.incremental
    assert set(one.columns) == {"at", "id"}
    assert not two.incremental
    assert set(two.columns) == {"id", "name"}
    assert three.request.dialect == "apicalypse"
    assert source.pack == 1, "a batch of IGDB's takes in no page of another dialect"


def test_settings_from_the_environment() -> None:
    text = """
        source: api
        base_url: ${API_URL:-https://a.test}/v1
        start: ${API_START:-2026-11-01}
        safety_margin_s: ${API_MARGIN:-60}
        auth: {kind: bearer, token: "${API_TOKEN:-}"}
        endpoints:
          things: {key: [id]}
        """
    plain = source_of(text)
    assert plain.base_url == "https://a.test/v1"
    assert plain.safety_margin_s == 60
    assert str(plain.start) == "2026-11-01"
    assert isinstance(plain.auth, BearerTokenAuth)
    assert plain.auth.token is None, "nothing is not a token"
    env = {"API_URL": "http://b.test", "API_MARGIN": "7", "API_START": "", "API_TOKEN": "0123"}
    given = source_of(text, env)
    assert (given.base_url, given.safety_margin_s) == ("http://b.test/v1", 7)
    assert str(given.start) == "2026-11-01", "set to nothing is not set"
    assert isinstance(given.auth, BearerTokenAuth)
    assert given.auth.token is not None
    assert given.auth.token.get_secret_value() == "0123"


def test_all_settings_that_are_missing_are_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "api.yaml"
    auth = "auth:\n  kind: basic\n  username: ${API_USER}\n  password: ${API_PASSWORD}\n"
    file.write_text(HEAD + auth + TAIL)
    with pytest.raises(ConfigError) as caught:
        load_source(file, {})
    lines = str(caught.value).splitlines()
    assert [line.split(" is not set")[0].removeprefix(f"{file}:") for line in lines] == [
        "6: the environment variable API_USER",
        "7: the environment variable API_PASSWORD",
    ]


def test_no_secret_is_in_a_message_or_a_repr(tmp_path: Path) -> None:
    secret = "hush-hush\u2026"
    bad = (
        HEAD
        + "auth: {kind: api_key, name: X, key: ['${KEY}'], place: '${KEY}', prefix: ['${KEY}']}\n"
    )
    assert "hush" not in said(tmp_path, bad + TAIL, {"KEY": secret})
    for field in ("safety_margin_s", "start", "timeouts", "endpoints", "schedule", "limits"):
        other = "".join(line for line in HEAD.splitlines(True) if not line.startswith(field))
        assert "hush" not in said(tmp_path, f"{other}{field}: '${{KEY}}'\n", {"KEY": secret})
    source = load_source(IGDB, ENV)
    for shown in (repr(source), source.model_dump_json(), str(source.auth)):
        assert "s3cret" not in shown
        assert "my-id" not in shown


def test_a_folder_says_all_mistakes_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(HEAD + TAIL)
    (tmp_path / "b.yml").write_text(HEAD + "x: 1\n" + TAIL)
    (tmp_path / "c.yaml").write_text(HEAD + TAIL)
    (tmp_path / "d.txt").write_text("not a source")
    text = load_all((str(tmp_path),), {}).mistakes
    assert "b.yml:4: x: 'x' is not a known key" in text
    assert "the source 'api' is defined twice" in text
    text = load_all((str(tmp_path / "nowhere"),), {}).mistakes
    assert "expected a YAML file or a folder of them, found none" in text
    (tmp_path / "empty").mkdir()
    text = load_all((str(tmp_path / "empty"),), {}).mistakes
    assert "expected at least one YAML file of a source" in text
    with pytest.raises(ConfigError, match=r"can't be read: No such file or directory"):
        load_source(tmp_path / "nowhere.yaml", {})
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load_source(tmp_path / "empty", {})


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "api.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + (HEAD + TAIL).encode())
    assert load_source(file, {}).source == "api"


def loads_or_says_why(file: Path, text: str) -> None:
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(load_source(file, ENV), Source)
        return
    except ConfigError as error:
        said = str(error)
    for line in said.splitlines():
        assert line.startswith(f"{file}:")
        assert int(line.removeprefix(f"{file}:").split(":")[0]) >= 1
    assert "s3cret" not in said


@pytest.mark.parametrize("secret", ["s3cret-of-igdb", "S3cret\\of\\igdb", "s3cret< of <igdb"])
@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("cursor: '${SECRET}'", "the cursor `${SECRET}` needs a declared type"),
        ("columns: {at: '${SECRET}'}", "'${SECRET}' is not a type"),
    ],
)
def test_a_secret_in_the_wrong_place_is_named_and_not_said(
    tmp_path: Path, secret: str, place: str, sentence: str
) -> None:
    file = tmp_path / "api.yaml"
    file.write_text(HEAD + f"endpoints:\n  things: {{key: [id], {place}}}\n")
    with pytest.raises(ConfigError) as said:
        load_source(file, {"SECRET": secret})
    assert "3cret" not in str(said.value)
    assert sentence in str(said.value)


def test_what_would_be_right_is_said_though_a_setting_is_like_it(tmp_path: Path) -> None:
    file = tmp_path / "api.yaml"
    auth = "auth: {kind: api_key, name: k, key: abc, place: '${PLACE}'}\n"
    file.write_text(HEAD + auth + TAIL)
    with pytest.raises(ConfigError, match=r"'header' or 'query'"):
        load_source(file, {"PLACE": "headers"})


FUZZ = settings(
    max_examples=40 * THOROUGH,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FUZZ
@given(text=st.text() | st.text("{}[]:,-&*!|>'\"%@`#? \n\tab01~.<=$"))
def test_any_text_is_a_source_or_a_config_error(text: str, tmp_path: Path) -> None:
    loads_or_says_why(tmp_path / "fuzz.yaml", text)
    loads_or_says_why(tmp_path / "fuzz.yaml", HEAD + "auth: " + text + "\n" + TAIL)


SMALL = IGDB.read_text().split("  games:\n")[0] + (
    "  games:\n    columns:\n      id: uint64\n      tags: list<int32>\n  genres:\n"
    "  covers: &snapshot\n    cursor: null\n    columns: {created_at: null}\n  websites: "
    "*snapshot\n"
)


@FUZZ
@given(data=st.data())
def test_a_mutated_source_is_a_source_or_a_config_error(
    data: st.DataObject, tmp_path: Path
) -> None:
    lines = SMALL.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["drop", "double", "indent", "value", "key", "char"])):
            case "drop":
                lines[at] = ""
            case "double":
                lines.insert(at, lines[data.draw(st.integers(0, len(lines) - 1))])
            case "indent":
                lines[at] = " " * data.draw(st.integers(0, 6)) + lines[at].strip()
            case "value":
                value = data.draw(st.sampled_from(ODD_VALUES))
                lines[at] = lines[at].split(":")[0] + ": " + value
            case "key":
                lines[at] = lines[at].replace(lines[at].strip().split(":")[0], "oddly", 1)
            case _:
                cut = data.draw(st.integers(0, len(lines[at])))
                lines[at] = lines[at][:cut] + data.draw(st.characters()) + lines[at][cut:]
    loads_or_says_why(tmp_path / "fuzz.yaml", "\n".join(lines))


ODD_VALUES = [
    "", "~", "0", "-1", "1e400", ".nan", "[]", "{}", "[[1]]", "{a: {b: c}}", "true", "on",
    "9" * 400, "'${IGDB_CLIENT_SECRET}'", "${NOWHERE}", "${A:-${B}}", "!!python/name:os.system",
    "|", ">", "'", "0x1F", "1:30", "2026-01-01 01:01:01 +25:00", "\u2028", "!!binary ////",
    "&a *a", "2026-02-30", "!!set {a}",
    "!!omap [a: 1]", "!!int x", "!!timestamp x", "!!float ''", "!!null x", "!!bool x", "!!pairs 5",
]  # fmt: skip


def test_all_endpoints_of_igdb_are_there() -> None:
    source = load_source(IGDB, ENV)
    found = source.endpoints
    assert (len(INCREMENTAL), len(SNAPSHOTS)) == (49, 20)
    assert sorted(found) == sorted(INCREMENTAL + SNAPSHOTS)
    assert sorted(name for name, e in found.items() if e.incremental) == sorted(INCREMENTAL)
    for name, endpoint in found.items():
        assert endpoint.proven, name
        assert endpoint.count is not None, name
        assert endpoint.key == ("id",)
    assert [(w.requests, w.per_s) for w in source.limits.windows] == [(4, 1.0)]
    assert source.limits.in_flight == 8


def as_json(text: str) -> Any:
    return json.loads(json.dumps(yaml.safe_load(text), default=str))


def test_the_schema_that_is_checked_in_is_current() -> None:
    checked_in = (ROOT / "docs" / "source.schema.json").read_text()
    made = json.dumps(source_schema(), indent=2, ensure_ascii=False) + "\n"
    assert checked_in == made, (
        "run: python -m pipeline.config.json_schema > docs/source.schema.json"
    )
    assert IGDB.read_text().startswith(
        "# yaml-language-server: $schema=../docs/source.schema.json\n"
    )


SCHEMA = source_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.mark.parametrize(
    "file", [*ROOT.glob("sources/*.yaml"), *ROOT.glob("examples/**/*.yaml")], ids=lambda f: f.name
)
def test_the_schema_takes_every_source(file: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(as_json(file.read_text()))] == []


TAKEN = [
    HEAD + TAIL,
    HEAD.replace("2026-11-01", "${START:-2026-11-01}") + "safety_margin_s: ${MARGIN}\n" + TAIL,
    HEAD + "schedule: {running: '${ON:-false}'}\nlimits: {in_flight: '${MOST}'}\n" + TAIL,
    HEAD + "defaults: {key: [id], paging: {kind: page, limit: 5}}\n"
    "endpoints: {a: null, b: {paging: {limit: 6}, columns: {x: int64, y: null, z: {type: "
    "json}}}}\n",
]  # fmt: skip
NOT_TAKEN = [
    HEAD,
    HEAD + "saftey_margin_s: 1\n" + TAIL,
    HEAD + "safety_margin_s: soon\n" + TAIL,
    HEAD + "endpoints: {A-B: {key: [id]}}\n",
    HEAD + "endpoints: {a: {kye: [id]}}\n",
    HEAD + "endpoints: {a: {paging: {kind: pages}}}\n",
    HEAD + "endpoints: {a: {columns: {x: 5}}}\n",
    HEAD + "defaults: 5\n" + TAIL,
    HEAD + "auth: {kind: bearer, key: x}\n" + TAIL,
    HEAD.replace("https:", "ftp:") + TAIL,
]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_takes_what_loads_and_not_what_does_not(tmp_path: Path) -> None:
    for text in TAKEN:
        assert [error.message for error in VALIDATOR.iter_errors(as_json(text))] == [], text
    for text in NOT_TAKEN:
        assert not VALIDATOR.is_valid(as_json(text)), text
        said(tmp_path, text)


def test_of_many_mistakes_the_first_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    endpoints = "".join(f"  t{n}: {{key: [id], cursr: at}}\n" for n in range(100))
    lines = said(tmp_path, f"{HEAD}endpoints:\n{endpoints}").splitlines()
    assert len(lines) == 31
    assert lines[0].startswith("5: endpoints.t0.cursr")
    assert lines[-1].endswith("and 70 more mistakes")
