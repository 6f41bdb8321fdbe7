"""What a manifest may want and the YAML may or may not be able to say: one entry an ability.

A converter writes every form, and notes which abilities it took. An endpoint that took one that
the engine lacks is left out with the reason. Once the engine learns it, ``known`` becomes true
here, and nothing else changes.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ability:
    """:ivar title: what is wanted, as a reason: "the YAML can't say …".
    :ivar known: whether the loader takes the form.
    """

    title: str
    known: bool = False


ABILITIES: dict[str, Ability] = {
    # Keys and shapes of rows
    "key_none": Ability("rows without a key", known=True),
    "rows_scalars": Ability("rows that are plain values", known=True),
    "rows_either": Ability("rows that are a list or one object", known=True),
    "rows_nested": Ability("rows at a path with *, in a list or a map", known=True),
    # Fan-out
    "fanout_grandparents": Ability("children of an endpoint that has parents itself", known=True),
    "fanout_of_each": Ability("children of an endpoint that has each", known=True),
    "fanout_cursor": Ability("children with a cursor of their own", known=True),
    "fanout_columns": Ability("several columns of the parent in a request or a row", known=True),
    "fanout_product": Ability("a product of several lists or parents", known=True),
    "fanout_union": Ability("children of several parents in one endpoint"),
    "fanout_feed": Ability("a feed for each of many values", known=True),
    "fanout_group": Ability("parents in groups, otherwise than by comma in a text"),
    # Columns and rows
    "where": Ability("rows that are kept by a condition", known=True),
    "column_constant": Ability("a column with a constant or a setting", known=True),
    "column_window": Ability("a column from the window's start or end", known=True),
    "column_response": Ability("a column from around the rows", known=True),
    "column_now": Ability("a column with the time of the request", known=True),
    "column_index": Ability("a column from an item of a list", known=True),
    "column_nested": Ability("a column that is added inside another one"),
    "exclude": Ability("members of rows that are left out", known=True),
    "expanded": Ability("rows that are made of a list in each row, beside members of that row"),
    "rename": Ability("names of all columns by a rule"),
    "flatten": Ability("members of an object as columns, by a rule"),
    # Increments
    "cursor_number": Ability(
        "an increasing number as the cursor, of each parent or not in the request"
    ),
    "window_formats": Ability("bounds of the window in two formats in one request"),
    "window_microseconds": Ability("bounds of the window in microseconds since 1970"),
    "window_months": Ability("bounds of the window in whole months or years"),
    "window_slices": Ability("a request for each step of the window, whose rows don't say when"),
    # Requests
    "now": Ability("the time of the request, or one before it, in a request", known=True),
    "now_computed": Ability("a time that is computed from that of the request"),
    "window_alone": Ability("the window in the request of a stream without a cursor"),
    "body_list": Ability("a JSON body that is a list"),
    "body_of_get": Ability("a GET with a body", known=True),
    "method": Ability("a method other than GET and POST"),
    "host_per_endpoint": Ability("endpoints of several hosts in one source", known=True),
    "host_of_samples": Ability("requests to another host, whose credentials may be others"),
    "host_computed": Ability("a host that is made of a value, of each row or response"),
    "auth_per_endpoint": Ability("endpoints with credentials of their own"),
    "param_optional": Ability("a parameter that is left out if its setting is empty", known=True),
    # Pages
    "paging_page_of_body": Ability("page numbers that the response counts"),
    "paging_stop": Ability("an end of the pages that is computed"),
    "paging_computed": Ability("a next page that is computed"),
    "paging_first": Ability("numbered pages that begin beyond 1", known=True),
    "paging_reset": Ability(
        "pages that begin anew, or a window that is cut, where an API ends them"
    ),
    "paging_place": Ability("a token in a place where the YAML puts none"),
    # Credentials
    "auth_rotating": Ability("a refresh token that is used once", known=True),
    "auth_jwt": Ability("a signed token (JWT)"),
    "auth_place": Ability("a key in a cookie, or a session's in the URL"),
    "auth_two": Ability("two credentials in one request"),
    "auth_token_name": Ability("a token under another name than access_token"),
    "auth_login": Ability("a login in a form that the YAML has no place for"),
    "auth_computed": Ability("credentials that are computed"),
    # What is not JSON, and what takes several steps
    "format": Ability("a response that is not JSON"),
    "export": Ability("an export job: submit, poll, download"),
    "dynamic": Ability("endpoints that are made from a response"),
    "python": Ability("a component in Python of the connector's own"),
    # The loader, which knows more than the converter
    "loader": Ability("what the loader refuses"),
    # Expressions
    "computed": Ability("a computed value"),
    "state": Ability("the state of earlier runs in a request"),
    "component": Ability("a component that this importer does not know"),
    "reference": Ability("what a reference that leads nowhere says"),
    "undescribed": Ability("rows that the document does not describe"),
}


_DOORS = {
    "authenticator": "write it as auth: {kind: python, path: my_api:Auth}, an httpx.Auth",
    "paginator": "write it as paging: {kind: python, path: my_api:next_page}",
    "pagination_strategy": "write it as paging: {kind: python, path: my_api:next_page}",
    "extractor": "write it as transform: my_api:rows, which makes the rows of a page",
    "transformations": "write it as transform: my_api:rows, which changes the rows of a page",
    "record_filter": "write it as transform: my_api:rows, which leaves rows of a page out",
}
"""What takes the place of a component in Python, by the component."""


KNOWN = frozenset(name for name, ability in ABILITIES.items() if ability.known)
"""What the engine can do."""


@dataclass(frozen=True)
class Need:
    """An ability that an endpoint took.

    :ivar component: the manifest's component that wants it.
    :ivar what: the detail: an expression, a name, a class.
    """

    ability: str
    component: str
    what: str = ""

    @property
    def reason(self) -> str:
        """The sentence on this need in a comment of the YAML."""
        if self.ability == "python":
            return f"{self.component} is Python of the connector's own ({self.what}): {self._door}"
        if self.ability == "reference":
            return (
                f"{self.component}: the reference {self.what} leads nowhere in the document. "
                "Correct it, or put all files of the document into one"
            )
        if self.ability == "undescribed":
            return (
                f"{self.component}: the document does not name the members of its rows. Describe "
                "them there, or take a response: make new-source URL=…"
            )
        detail = f" ({self.what})" if self.what else ""
        return f"{self.component}: the YAML can't say {ABILITIES[self.ability].title}{detail}"

    @property
    def _door(self) -> str:
        return _DOORS.get(self.component, "nothing in the YAML takes its place")


def lacking(needs: list[Need], known: frozenset[str] = KNOWN) -> list[Need]:
    """The needs that the engine can't meet, each once."""
    return [need for need in dict.fromkeys(needs) if need.ability not in known]
