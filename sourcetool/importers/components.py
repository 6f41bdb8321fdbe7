"""Every component of the declarative schema, and what the importer does with each of its members.

A member is converted (``read``); or it changes neither rows nor requests (``nothing``); or the
source is right without it, and a comment says what it did (``noted``); or the stream is left out,
with the ability that it lacks (``lacks``). No member is ignored silently: one that is in none of
the four gets a comment as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sourcetool.importers.draft import Draft
from sourcetool.importers.manifest import CHOSEN, Component


@dataclass(frozen=True)
class ComponentMembers:
    """What becomes of a component's members; names in a text, with spaces between.

    :ivar noted: what a member does, by its name.
    :ivar lacks: the ability that a member takes, by its name.
    """

    read: str = ""
    nothing: str = ""
    noted: Mapping[str, str] = field(default_factory=dict)
    lacks: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        return frozenset([*self.read.split(), *self.nothing.split(), *self.noted, *self.lacks])


_OWN = ComponentMembers(read="class_name")
"""Python of the connector's own: the module of its kind says what takes its place."""
_WAITS = "retries here wait as `limits` and `retries` say"

COMPONENTS: Mapping[str, ComponentMembers] = {
    # Streams
    "DeclarativeStream": ComponentMembers(
        read="name primary_key retriever incremental_sync schema_loader transformations",
        nothing="state_migrations",
        noted={"file_uploader": "files that rows name are not downloaded"},
    ),
    "StateDelegatingStream": ComponentMembers(
        read="name incremental_stream full_refresh_stream",
        noted={"api_retention_period": "the API keeps rows so long"},
    ),
    "ConditionalStreams": ComponentMembers(read="streams condition"),
    "DynamicDeclarativeStream": ComponentMembers(
        read="name",
        lacks=dict.fromkeys(
            ("stream_template", "components_resolver", "use_parent_parameters"), "dynamic"
        ),
    ),
    "SimpleRetriever": ComponentMembers(
        read="requester record_selector paginator partition_router decoder"
        " ignore_stream_slicer_parameters_on_paginated_requests",
        nothing="page_size_reduction",
        lacks={"pagination_reset": "paging_reset", "request_window_splitting": "paging_reset"},
    ),
    # Requests
    "HttpRequester": ComponentMembers(
        read="url url_base path http_method request_parameters request_headers request_body"
        " request_body_json request_body_data authenticator error_handler query_properties decoder",
        nothing="use_cache connect_timeout_in_seconds read_timeout_in_seconds use_tcp_keepalive",
        lacks={"fetch_properties_from_endpoint": "computed"},
    ),
    "RequestBodyPlainText": ComponentMembers(read="value"),
    "RequestBodyUrlEncodedForm": ComponentMembers(read="value"),
    "RequestBodyJsonObject": ComponentMembers(read="value"),
    "RequestBodyGraphQL": ComponentMembers(read="value"),
    "RequestBodyGraphQlQuery": ComponentMembers(read="query"),
    "RequestOption": ComponentMembers(read="inject_into field_name field_path"),
    "RequestPath": ComponentMembers(),
    "QueryProperties": ComponentMembers(
        read="property_list always_include_properties",
        lacks={"property_chunking": "computed"},
        noted={"property_selector": "all properties of the list are requested"},
    ),
    # Responses
    "RecordSelector": ComponentMembers(
        read="extractor record_filter transform_before_filtering",
        nothing="schema_normalization",
    ),
    "DpathExtractor": ComponentMembers(read="field_path field_pointer record_expander"),
    "RecordExpander": ComponentMembers(
        read="expand_records_from_field remain_original_record merge_parent parent_fields"
        " on_no_records",
        lacks=dict.fromkeys(("truncated_list_retriever", "truncation_indicator_path"), "expanded"),
    ),
    "CombinedExtractor": ComponentMembers(
        lacks=dict.fromkeys(("extractors", "mode", "skip_empty_records"), "component")
    ),
    "RecordFilter": ComponentMembers(read="condition"),
    "JsonDecoder": ComponentMembers(),
    "JsonItemsDecoder": ComponentMembers(read="items_path encoding"),
    "JsonlDecoder": ComponentMembers(),
    "IterableDecoder": ComponentMembers(),
    "CsvDecoder": ComponentMembers(read="delimiter encoding set_values_to_none"),
    "XmlDecoder": ComponentMembers(),
    "GzipDecoder": ComponentMembers(read="decoder"),
    "ZipfileDecoder": ComponentMembers(read="decoder"),
    "CompositeRawDecoder": ComponentMembers(read="parser"),
    # Rows
    "AddFields": ComponentMembers(read="fields condition"),
    "AddedFieldDefinition": ComponentMembers(read="path value value_type"),
    "RemoveFields": ComponentMembers(read="field_pointers condition"),
    "KeysToLower": ComponentMembers(),
    "KeysToSnakeCase": ComponentMembers(),
    "KeysReplace": ComponentMembers(read="old new"),
    "FlattenFields": ComponentMembers(read="flatten_lists"),
    "DpathFlattenFields": ComponentMembers(
        read="field_path delete_origin_value replace_record key_transformation"
    ),
    "InlineSchemaLoader": ComponentMembers(read="schema"),
    "JsonFileSchemaLoader": ComponentMembers(nothing="file_path"),
    "DynamicSchemaLoader": ComponentMembers(
        nothing="retriever schema_filter schema_transformations schema_type_identifier"
    ),
    # Pages
    "DefaultPaginator": ComponentMembers(
        read="pagination_strategy page_size_option page_token_option"
    ),
    "NoPagination": ComponentMembers(),
    "OffsetIncrement": ComponentMembers(read="page_size", nothing="inject_on_first_request"),
    "PageIncrement": ComponentMembers(read="page_size start_from_page inject_on_first_request"),
    "CursorPagination": ComponentMembers(read="cursor_value stop_condition page_size"),
    # Values and cursors
    "ListPartitionRouter": ComponentMembers(read="values cursor_field request_option"),
    "SubstreamPartitionRouter": ComponentMembers(read="parent_stream_configs"),
    "ParentStreamConfig": ComponentMembers(
        read="stream parent_key partition_field request_option extra_fields incremental_dependency",
        noted={
            "lazy_read_pointer": "children are requested, though the parent's response has some"
        },
    ),
    "GroupingPartitionRouter": ComponentMembers(
        read="underlying_partition_router group_size deduplicate"
    ),
    "UnionPartitionRouter": ComponentMembers(read="partition_routers partition_field"),
    "DatetimeBasedCursor": ComponentMembers(
        read="cursor_field datetime_format cursor_datetime_formats start_datetime end_datetime"
        " start_time_option end_time_option partition_field_start partition_field_end step"
        " lookback_window is_client_side_incremental",
        nothing="cursor_granularity is_data_feed global_substream_cursor"
        " allow_catalog_defined_cursor_field is_compare_strictly",
        noted={"clamping": "windows begin at any day, not at that of a month or week alone"},
    ),
    "MinMaxDatetime": ComponentMembers(read="datetime datetime_format min_datetime max_datetime"),
    "IncrementingCountCursor": ComponentMembers(
        read="cursor_field start_value start_value_option",
        nothing="allow_catalog_defined_cursor_field",
    ),
    # Credentials
    "ApiKeyAuthenticator": ComponentMembers(read="api_token header inject_into"),
    "BearerAuthenticator": ComponentMembers(read="api_token"),
    "BasicHttpAuthenticator": ComponentMembers(read="username password"),
    "SelectiveAuthenticator": ComponentMembers(read="authenticators authenticator_selection_path"),
    "NoAuth": ComponentMembers(),
    "OAuthAuthenticator": ComponentMembers(
        read="token_refresh_endpoint client_id client_secret refresh_token grant_type scopes"
        " refresh_request_body refresh_request_headers refresh_token_updater access_token_name"
        " client_id_name client_secret_name refresh_token_name grant_type_name"
        " use_profile_assertion profile_assertion send_refresh_request_as_query_params",
        nothing="access_token_value token_expiry_date token_expiry_date_format expires_in_name"
        " refresh_token_error_status_codes refresh_token_error_key refresh_token_error_values",
    ),
    "SessionTokenAuthenticator": ComponentMembers(
        read="login_requester session_token_path expiration_duration request_authentication decoder"
    ),
    "SessionTokenRequestApiKeyAuthenticator": ComponentMembers(read="inject_into api_token"),
    "SessionTokenRequestBearerAuthenticator": ComponentMembers(),
    "ApiKey": ComponentMembers(read="inject_into api_token"),
    "Bearer": ComponentMembers(),
    "LegacySessionTokenAuthenticator": ComponentMembers(
        read="login_url username password session_token_response_key header",
        nothing="session_token validate_session_url",
    ),
    "JwtAuthenticator": ComponentMembers(
        lacks=dict.fromkeys(
            (
                *("secret_key", "algorithm", "token_duration", "jwt_headers", "jwt_payload"),
                *("additional_jwt_headers", "additional_jwt_payload", "header_prefix"),
                *("base64_encode_secret_key", "passphrase", "request_option"),
            ),
            "auth_jwt",
        )
    ),
    "RateLimitedMultipleTokenAuthenticator": ComponentMembers(
        lacks=dict.fromkeys(
            (
                *("tokens", "token_delimiter", "auth_method", "header", "quotas"),
                *("quota_status_source", "max_wait_time", "budget_min_reserve"),
                "budget_reserve_fraction",
            ),
            "auth_computed",
        )
    ),
    # Errors and limits
    "DefaultErrorHandler": ComponentMembers(
        read="response_filters backoff_strategies", nothing="max_retries"
    ),
    "CompositeErrorHandler": ComponentMembers(read="error_handlers"),
    "HttpResponseFilter": ComponentMembers(
        read="action http_codes predicate error_message_contains",
        nothing="error_message failure_type",
    ),
    "ConstantBackoffStrategy": ComponentMembers(
        read="backoff_time_in_seconds", nothing="jitter_range_in_seconds"
    ),
    "ExponentialBackoffStrategy": ComponentMembers(nothing="factor jitter_range_in_seconds"),
    "WaitTimeFromHeader": ComponentMembers(
        read="header", nothing="regex max_waiting_time_in_seconds"
    ),
    "WaitUntilTimeFromHeader": ComponentMembers(
        read="header", nothing="regex min_wait max_waiting_time_in_seconds"
    ),
    "WaitTimeFromResponse": ComponentMembers(
        noted={"wait_time_in_seconds": _WAITS}, nothing="max_waiting_time_in_seconds"
    ),
    "HTTPAPIBudget": ComponentMembers(
        read="policies ratelimit_remaining_header ratelimit_reset_header"
        " status_codes_for_ratelimit_hit"
    ),
    "FixedWindowCallRatePolicy": ComponentMembers(read="call_limit period matchers"),
    "MovingWindowCallRatePolicy": ComponentMembers(read="rates matchers"),
    "UnlimitedCallRatePolicy": ComponentMembers(read="matchers"),
    "Rate": ComponentMembers(read="limit interval"),
    # The connector
    "Spec": ComponentMembers(
        read="connection_specification config_normalization_rules",
        nothing="documentation_url advanced_auth",
    ),
    # Python of the connector's own
    **dict.fromkeys(
        (
            *("CustomAuthenticator", "CustomBackoffStrategy", "CustomErrorHandler"),
            *("CustomPaginationStrategy", "CustomRecordExtractor", "CustomRecordFilter"),
            *("CustomRequester", "CustomRetriever", "CustomPartitionRouter", "CustomDecoder"),
            *("CustomSchemaLoader", "CustomSchemaNormalization", "CustomStateMigration"),
            *("CustomTransformation", "CustomValidationStrategy", "CustomConfigTransformation"),
            "CustomIncrementalSync",
        ),
        _OWN,
    ),
}

PARTS = frozenset(
    (
        *("AsyncJobStatusMap", "AsyncRetriever", "AuthFlow", "BlockSimultaneousSyncsAction"),
        *("CheckDynamicStream", "CheckStream", "CombineMode", "ComplexFieldType"),
        *("ComponentMappingDefinition", "ConcurrencyLevel", "ConfigAddFields"),
        *("ConfigComponentsResolver", "ConfigMigration", "ConfigRemapField", "ConfigRemoveFields"),
        *("DpathValidator", "DynamicStreamCheckConfig", "GroupByKeyMergeStrategy"),
        *("HttpComponentsResolver", "HttpRequestRegexMatcher", "JsonSchemaPropertySelector"),
        *("KeyTransformation", "LegacyToPerPartitionStateMigration", "OAuthConfigSpecification"),
        *("PageSizeReduction", "PaginationReset", "PaginationResetLimits"),
        *("ParametrizedComponentsResolver", "ParentFieldPath", "PredicateValidator", "PrimaryKey"),
        *("PropertiesFromEndpoint", "PropertyChunking", "QuotaStatusSource"),
        *("RequestWindowSplitting", "ResponseToFileExtractor", "SchemaNormalization"),
        *("SchemaTypeIdentifier", "Schemas", "StreamConfig", "StreamGroup"),
        *("StreamParametersDefinition", "TokenQuota", "TypesMap", "ValidateAdheresToSchema"),
        "ValueType",
    )
)
"""Parts of another component, whose member says what becomes of them as a whole."""

_BY_ITSELF = frozenset({"type", "$parameters", "$ref", "description", "name", CHOSEN})
_ELSEWHERE = frozenset({"schema", "stream", "schema_loader", "state_migrations"})
"""ComponentMembers that are data, or that are converted by themselves."""


_CHOSEN = ("SelectiveAuthenticator", "authenticators")
"""Of these one is converted, and only its members count."""


def note_unread(draft: Draft, component: Any) -> None:
    """Say what each member of a stream's components did that is not converted."""
    for kind, name, value in _members(component):
        members = COMPONENTS[kind]
        if name in members.lacks:
            draft.need(members.lacks[name], f"{kind}.{name}", value)
        elif name in members.noted:
            draft.doubt(f"{kind}.{name} is left out: {members.noted[name]}")
        elif name not in members.names:
            draft.doubt(f"{kind}.{name} is not known here, and left out")


def _members(component: Any) -> Iterator[tuple[str, str, Any]]:
    """Of a component and of those inside the members that say something, with their kind."""
    if isinstance(component, list):
        for item in component:
            yield from _members(item)
    if not isinstance(component, dict):
        return
    kind = component.get("type")
    members = COMPONENTS.get(str(kind), ComponentMembers())
    known = str(kind) in COMPONENTS and "class_name" not in component
    parameters: Component = component.get("$parameters") or {}
    for name, value in component.items():
        if name in _BY_ITSELF or name in _ELSEWHERE or (kind, name) == _CHOSEN:
            continue
        handed_down = name in parameters and name not in members.names
        if known and value not in (None, False, "", [], {}) and not handed_down:
            yield str(kind), str(name), value
        if isinstance(value, dict | list) and not handed_down:
            yield from _members(value)
