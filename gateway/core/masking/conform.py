"""A masked `structuredContent` made to keep the JSON Schema that its tool promised (MCP, Tools: Output Schema)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import jsonschema_rs
import orjson

from gateway.core.errors import MaskFault
from gateway.core.types import Document, Json

_ERRORS_READ = 256


_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000)
"""An upstream writes the patterns, and the strings: one that takes more steps matches nothing. The default of a million
takes a tenth of a second for each string."""


def validator(schema: Document) -> jsonschema_rs.Validator:
    """The compiled validator of `schema`, remembered. Formats count, and nothing is fetched. Raises MaskFault."""
    try:
        return _compiled(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))
    except (TypeError, ValueError) as problem:
        raise MaskFault("The tool's outputSchema cannot be used, so no masked result can keep it.") from problem


@lru_cache(maxsize=256)
def _compiled(schema: bytes) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(
        orjson.loads(schema), validate_formats=True, retriever=_nothing, pattern_options=_PATTERNS
    )


def _nothing(_uri: str) -> Json:
    raise ValueError("A schema refers to another document, and documents are not fetched.")


def faults(compiled: jsonschema_rs.Validator, value: Json) -> list[Sequence[str | int]]:
    """Where `value` breaks the schema, as paths of keys from its root; bounded."""
    found: list[Sequence[str | int]] = []
    for error in compiled.iter_errors(value):
        found.append(error.instance_path)
        if len(found) >= _ERRORS_READ:
            break
    return found
