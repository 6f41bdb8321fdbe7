"""A small, strict server for each family of APIs: what it does not know it refuses.

All serve the same 300 orders, one every twenty minutes from noon on 2026-10-31, so that some lie on
midnight. A handler gets the request and its body and gives JSON and headers; ``KeyError`` and
``ValueError`` are a 400.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FIRST = datetime(2026, 10, 31, 12, tzinfo=UTC)
PAGE = 20


@dataclass(frozen=True)
class Order:
    number: int

    @property
    def at(self) -> datetime:
        return FIRST + timedelta(minutes=20 * self.number)

    @property
    def name(self) -> str:
        return f"Zoë's {self.number}"

    @property
    def key(self) -> str:
        return f"k{self.number:05}"

    def text(self, pattern: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
        return self.at.strftime(pattern)

    @property
    def s(self) -> int:
        return int(self.at.timestamp())


ORDERS = [Order(n) for n in range(300)]


@dataclass
class Call:
    """A request: its parameters, of which each has to be taken, and its body."""

    path: str
    headers: Mapping[str, str]
    params: dict[str, str]
    body: Any
    url: str
    out: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, default: str | None = None) -> str:
        if name not in self.params and default is None:
            raise KeyError(f"the parameter {name} is missing")
        return self.params.pop(name, default or "")

    def expect(self, **given: str) -> None:
        for name, value in given.items():
            if self.take(name) != value:
                raise ValueError(f"{name} is not {value}")

    def link(self, **params: object) -> str:
        return f"{self.url}{self.path}?{urlencode(params)}"


Handler = Callable[[Call], Any]
HANDLERS: dict[str, Handler] = {}


def family(name: str) -> Callable[[Handler], Handler]:
    def add(handler: Handler) -> Handler:
        HANDLERS[name] = handler
        return handler

    return add


def between(start: str | None, end: str, pattern: str, *, last: bool = False) -> list[Order]:
    """Those of a window; the pattern is that of a bound, which has to be written so."""

    def read(text: str) -> datetime:
        found = datetime.strptime(f"{text}+0000", f"{pattern}%z")
        if found.strftime(pattern) != text:
            raise ValueError(f"{text} is not written as {pattern}")
        return found

    low, high = read(start) if start else datetime.min.replace(tzinfo=UTC), read(end)
    return [o for o in ORDERS if low <= o.at and (o.at <= high if last else o.at < high)]


def by_seconds(start: float | None, end: float, per_s: float = 1.0) -> list[Order]:
    return [o for o in ORDERS if (start is None or start / per_s <= o.s) and o.s < end / per_s]


ISO = "%Y-%m-%dT%H:%M:%SZ"


@family("graphql")
def graphql(call: Call) -> Any:
    sent = call.body["variables"]
    assert "orders(first: $first" in call.body["query"]
    rows = between(sent.get("since"), sent["until"], ISO)
    after = base64.b64decode(sent.get("after") or "").decode()
    left = [o for o in rows if o.key > after]
    page = left[: sent["first"]]
    return {
        "data": {
            "orders": {
                "pageInfo": {
                    "hasNextPage": len(left) > len(page),
                    "endCursor": base64.b64encode(page[-1].key.encode()).decode() if page else None,
                },
                "edges": [
                    {"node": {"id": o.number, "name": o.name, "changedAt": o.text()}} for o in page
                ],
            }
        }
    }


@family("odata")
def odata(call: Call) -> Any:
    wanted = re.fullmatch(r"(?:ChangedAt ge (\S+) and )?ChangedAt lt (\S+)", call.take("$filter"))
    call.expect(**{"$orderby": "ID", "$count": "true"})
    assert wanted
    assert call.headers["prefer"] == "odata.maxpagesize=20"
    rows = between(wanted[1], wanted[2], ISO)
    after = call.take("$skiptoken", "")
    left = [o for o in rows if o.key > after]
    page = left[:PAGE]
    found: dict[str, Any] = {
        "@odata.count": len(rows),
        "value": [{"ID": o.number, "Name": o.name, "ChangedAt": o.text()} for o in page],
    }
    if len(left) > len(page):
        same = {"$filter": wanted[0], "$orderby": "ID", "$count": "true"}
        found["@odata.nextLink"] = call.link(**same, **{"$skiptoken": page[-1].key})
    return found


@family("jsonapi")
def jsonapi(call: Call) -> Any:
    start, end = call.take("filter[changed_at][gte]", ""), call.take("filter[changed_at][lt]")
    call.expect(**{"page[size]": "20", "sort": "id"})
    assert call.headers["accept"] == "application/vnd.api+json"
    after = call.take("page[after]", "")
    left = [o for o in between(start, end, ISO) if o.key > after]
    page = left[:PAGE]
    same = {"filter[changed_at][gte]": start} if start else {}
    same |= {"filter[changed_at][lt]": end, "page[size]": "20", "sort": "id"}
    following = call.link(**same, **{"page[after]": page[-1].key}) if left[PAGE:] else None
    rows = [{"id": o.key, "attributes": {"name": o.name, "changed_at": o.text()}} for o in page]
    return {"data": rows, "links": {"next": following}}


@family("salesforce")
def salesforce(call: Call) -> Any:
    if call.path.endswith("/token"):
        return {"access_token": "sample-access"}
    assert call.headers["authorization"] == "Bearer sample-access"
    if locator := re.search(r"/query/01g(\d+)x(\d+)-(\d+)$", call.path):
        low, high, at = map(int, locator.groups())
    else:
        query = r"SELECT Id, Name, SystemModstamp FROM Account WHERE (?:SystemModstamp >= (\S+) "
        query += r"AND )?SystemModstamp < (\S+) ORDER BY Id"
        wanted = re.fullmatch(query, call.take("q"))
        assert wanted
        rows = between(wanted[1], wanted[2], ISO)
        low, high, at = (rows[0].number, rows[-1].number + 1, 0) if rows else (0, 0, 0)
    every = ORDERS[low:high]
    page, behind = every[at : at + PAGE], at + PAGE
    found: dict[str, Any] = {
        "totalSize": len(every),
        "done": behind >= len(every),
        "records": [
            {"attributes": {}, "Id": o.key, "Name": o.name, "SystemModstamp": o.text()}
            for o in page
        ],
    }
    if not found["done"]:
        found["nextRecordsUrl"] = f"/services/data/v60.0/query/01g{low}x{high}-{behind}"
    return found


@family("stripe")
def stripe(call: Call) -> Any:
    start, end = call.take("created[gte]", ""), call.take("created[lt]")
    rows = by_seconds(int(start) if start else None, int(end))[::-1]
    after = call.take("starting_after", "z")
    left, limit = [o for o in rows if o.key < after], int(call.take("limit"))
    page = [{"id": o.key, "type": o.name, "created": o.s} for o in left[: min(limit, PAGE)]]
    return {"object": "list", "data": page, "has_more": len(left) > len(page)}


@family("elasticsearch")
def elasticsearch(call: Call) -> Any:
    span, size = call.body["query"]["range"]["changed"], call.body["size"]
    assert call.body["sort"] == [{"changed": "asc"}, {"id": "asc"}]
    after = call.body.get("search_after", [0, -1])
    rows = [o for o in between(span.get("gte"), span["lt"], ISO) if [o.s, o.number] > after]
    hits = [
        {
            "_source": {"id": o.number, "name": o.name, "changed": o.text()},
            "sort": [o.s, o.number],
        }
        for o in rows[:size]
    ]
    return {"hits": {"hits": hits}}


@family("couchdb")
def couchdb(call: Call) -> Any:
    wanted, span = call.body["selector"], call.body["selector"]["changed"]
    assert call.body["sort"] == ["number"]
    rows = by_seconds(span.get("$gte"), span["$lt"], 1000.0)
    left = [o for o in rows if o.number > wanted["number"].get("$gt", -1)]
    docs = [{"number": o.number, "name": o.name, "changed": o.s * 1000} for o in left]
    return {"docs": docs[: call.body["limit"]], "bookmark": "nil"}


@family("kinto")
def kinto(call: Call) -> Any:
    start, end = call.take("min_last_modified", ""), call.take("lt_last_modified")
    call.expect(_limit="20", _sort="id")
    after = call.take("_token", "")
    rows = by_seconds(int(start) if start else None, int(end), 1000.0)
    left = [o for o in rows if o.key > after]
    if left[PAGE:]:
        same = {"min_last_modified": start} if start else {}
        same |= {"lt_last_modified": end, "_limit": "20", "_sort": "id"}
        call.out["Next-Page"] = call.link(**same, _token=left[PAGE - 1].key)
    return {
        "data": [{"id": o.key, "name": o.name, "last_modified": o.s * 1000} for o in left[:PAGE]]
    }


@family("wordpress")
def wordpress(call: Call) -> Any:
    start, end = call.take("modified_after", ""), call.take("modified_before")
    call.expect(orderby="id", order="asc", per_page="20")
    rows = between(start, end, "%Y-%m-%dT%H:%M:%S")
    if start:
        rows = [o for o in rows if o.text("%Y-%m-%dT%H:%M:%S") > start]
    at = PAGE * (int(call.take("page")) - 1)
    call.out["X-WP-Total"] = str(len(rows))
    return [
        {
            "id": o.number,
            "title": {"rendered": o.name},
            "modified_gmt": o.text("%Y-%m-%dT%H:%M:%S"),
        }
        for o in rows[at : at + PAGE]
    ]


@family("mediawiki")
def mediawiki(call: Call) -> Any:
    call.expect(action="query", list="recentchanges", rcdir="newer", format="json", maxlag="5")
    call.expect(formatversion="2", rcprop="ids|title|timestamp")
    rows = between(call.take("rcstart", ""), call.take("rcend"), ISO, last=True)
    after = call.take("rccontinue", "")
    left, limit = [o for o in rows if o.text() > after], int(call.take("rclimit"))
    if call.take("continue", "-||") != "-||":
        raise ValueError("continue")
    page = [{"rcid": o.number, "title": o.name, "timestamp": o.text()} for o in left[:limit]]
    found: dict[str, Any] = {"query": {"recentchanges": page}} if page else {"batchcomplete": True}
    if left[limit:]:
        found["continue"] = {"rccontinue": left[limit - 1].text(), "continue": "-||"}
    return found


@family("redmine")
def redmine(call: Call) -> Any:
    wanted = re.fullmatch(r"><([^|]+)\|(.+)", call.take("updated_on"))
    call.expect(status_id="*", sort="id")
    assert wanted
    assert call.headers["x-redmine-api-key"] == "sample-token"
    start = "1970-01-01T00:00:00Z" if wanted[1] == "1970-01-01" else wanted[1]
    rows = between(start, wanted[2], ISO, last=True)
    limit, offset = int(call.take("limit")), int(call.take("offset"))
    page = [
        {"id": o.number, "subject": o.name, "updated_on": o.text()}
        for o in rows[offset : offset + limit]
    ]
    return {"issues": page, "total_count": len(rows)}


@family("request-tracker")
def request_tracker(call: Call) -> Any:
    pattern = r"(?:id > (\d+) AND )?(?:LastUpdated >= '([^']+)' AND )?LastUpdated < '([^']+)'"
    wanted = re.fullmatch(pattern, call.take("query"))
    call.expect(orderby="id", order="ASC", fields="LastUpdated,Subject")
    assert wanted
    assert call.headers["authorization"] == "token sample-token"
    rows = between(wanted[2], wanted[3], "%Y-%m-%d %H:%M:%S")
    left = [o for o in rows if o.number > int(wanted[1] or -1)]
    limit = int(call.take("per_page"))
    page = [{"id": o.number, "Subject": o.name, "LastUpdated": o.text()} for o in left[:limit]]
    return {"items": page}


@family("pocketbase")
def pocketbase(call: Call) -> Any:
    if call.path.endswith("/auth-with-password"):
        assert call.body == {"identity": "sample-token", "password": "sample-token"}
        return {"token": "sample-session"}
    assert call.headers["authorization"] == "sample-session"
    pattern = r"(?:id > '(\w+)' && )?(?:updated >= '([^']+)' && )?updated < '([^']+)'"
    wanted = re.fullmatch(pattern, call.take("filter"))
    call.expect(sort="id", skipTotal="1")
    assert wanted
    rows = between(wanted[2], wanted[3], "%Y-%m-%d %H:%M:%S.000Z")
    left, limit = [o for o in rows if o.key > (wanted[1] or "")], int(call.take("perPage"))
    stamp = "%Y-%m-%d %H:%M:%S.000Z"
    page = [{"id": o.key, "name": o.name, "updated": o.text(stamp)} for o in left[:limit]]
    return {"items": page, "totalItems": -1}


@family("dynamodb")
def dynamodb(call: Call) -> Any:
    assert call.headers["x-amz-target"] == "DynamoDB_20120810.Scan"
    assert call.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=")
    given = call.body["ExpressionAttributeValues"]
    rows = by_seconds(int(given[":s"]["N"]), int(given[":e"]["N"]))
    after = call.body.get("ExclusiveStartKey", {"id": {"S": ""}})["id"]["S"]
    scanned = [o for o in ORDERS if o.key > after][: call.body["Limit"]]
    items = [
        {"id": {"S": o.key}, "name": {"S": o.name}, "changed": {"N": str(o.s)}}
        for o in scanned
        if o in rows
    ]
    found: dict[str, Any] = {"Items": items, "ScannedCount": len(scanned)}
    if scanned and scanned[-1] != ORDERS[-1]:
        found["LastEvaluatedKey"] = {"id": {"S": scanned[-1].key}}
    return found


@family("parse-server")
def parse_server(call: Call) -> Any:
    assert call.headers["x-parse-rest-api-key"] == "sample-token"
    assert (call.body["_method"], call.body["order"]) == ("GET", "objectId")
    where = call.body["where"]
    start, end = where["updatedAt"]["$gte"]["iso"], where["updatedAt"]["$lt"]["iso"]
    stamp = "%Y-%m-%dT%H:%M:%S.000Z"
    after = where.get("objectId", {}).get("$gt", "")
    left = [o for o in between(start, end, stamp) if o.key > after][: call.body["limit"]]
    return {
        "results": [{"objectId": o.key, "name": o.name, "updatedAt": o.text(stamp)} for o in left]
    }


@family("directus")
def directus(call: Call) -> Any:
    start, end = call.take("filter[date_updated][_gte]", ""), call.take("filter[date_updated][_lt]")
    after, limit = int(call.take("filter[id][_gt]", "-1")), int(call.take("limit"))
    call.expect(sort="id")
    left = [o for o in between(start, end, ISO) if o.number > after][:limit]
    return {"data": [{"id": o.number, "name": o.name, "date_updated": o.text()} for o in left]}


@family("prefect")
def prefect(call: Call) -> Any:
    assert call.body["sort"] == "ID_DESC"
    span = call.body["flow_runs"]["end_time"]
    rows = between(span.get("after_"), span["before_"], ISO, last=True)[::-1]
    at = call.body["offset"]
    return [
        {"id": o.key, "name": o.name, "end_time": o.text()}
        for o in rows[at : at + call.body["limit"]]
    ]


@family("mlflow")
def mlflow(call: Call) -> Any:
    pattern = r"(?:attributes.start_time >= (\d+) and )?attributes.start_time < (\d+)"
    wanted = re.fullmatch(pattern, call.body["filter"])
    assert wanted
    assert call.body["order_by"] == ["attributes.start_time ASC"]
    rows = by_seconds(int(wanted[1]) if wanted[1] else None, int(wanted[2]), 1000.0)
    page = [
        {
            "info": {"run_id": o.key, "run_name": o.name, "start_time": o.s * 1000},
            "data": {
                "metrics": [{"key": "loss", "value": 0.5, "timestamp": o.s * 1000, "step": 1}]
            },
        }
        for o in rows[: call.body["max_results"]]
    ]
    return {"runs": page} if page else {}


@family("dagster")
def dagster(call: Call) -> Any:
    sent = call.body["variables"]
    rows = [o for o in by_seconds(None, sent["until"]) if o.s > sent.get("since", 0)][::-1]
    left = [o for o in rows if o.key < sent.get("cursor", "z")][: sent["limit"]]
    runs = [{"runId": o.key, "jobName": o.name, "updateTime": o.s} for o in left]
    return {"data": {"runsOrError": {"count": len(rows), "results": runs}}}


@family("prometheus")
def prometheus(call: Call) -> Any:
    call.expect(query="up", step="1200")
    start, end = int(call.take("start")), int(call.take("end"))
    times = range(start, end + 1, 1200)
    by_time = {o.s: o for o in ORDERS}
    series = [
        {
            "metric": {"__name__": "up", "instance": by_time[at].name},
            "values": [[at, "1"]],
        }
        for at in times
        if at in by_time
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": series}}


@family("mailman")
def mailman(call: Call) -> Any:
    count, page = int(call.take("count")), int(call.take("page"))
    rows = ORDERS[count * (page - 1) : count * page]
    found: dict[str, Any] = {"start": count * (page - 1), "total_size": len(ORDERS)}
    if rows:
        found["entries"] = [{"member_id": o.key, "display_name": o.name} for o in rows]
    return found


@family("times-as-text")
def times_as_text(call: Call) -> Any:
    """Compared as texts: a bound without its milliseconds would leave rows out."""
    start, end, stamp = call.take("from", ""), call.take("to"), "%Y-%m-%dT%H:%M:%S.000Z"
    rows = [o for o in ORDERS if start <= o.text(stamp) < end]
    limit, page = int(call.take("per_page")), int(call.take("page"))
    shown = rows[limit * (page - 1) : limit * page]
    orders = [{"id": o.number, "name": o.name, "changed": o.text(stamp)} for o in shown]
    return {"orders": orders, "total": len(rows)}


def app_of(name: str) -> Starlette:
    """The server of a family."""
    handler = HANDLERS[name]

    async def answer(request: Request) -> Response:
        sent = await request.body()
        is_form = "form" in request.headers.get("content-type", "")
        body = json.loads(sent) if sent and not is_form else None
        host = f"http://{request.headers['host']}"
        params = dict(request.query_params)
        call = Call(request.url.path, request.headers, params, body, host)
        try:
            found = handler(call)
            if call.params:
                raise ValueError(f"unknown parameters: {', '.join(call.params)}")
        except (KeyError, ValueError, AssertionError, TypeError) as error:
            return Response(json.dumps({"error": repr(error)}), 400)
        return Response(json.dumps(found), headers=call.out, media_type="application/json")

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])


def wanted(start: datetime | None, end: datetime) -> Iterator[Order]:
    """The orders of a window."""
    return (o for o in ORDERS if (start is None or start <= o.at) and o.at < end)
