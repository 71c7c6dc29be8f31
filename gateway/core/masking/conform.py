"""A masked `structuredContent` made to keep the JSON Schema that its tool promised (MCP, Tools: Output Schema)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import islice

import jsonschema_rs
import orjson

from gateway.core.errors import MaskFault
from gateway.core.masking import branching
from gateway.core.types import Document, Json

_ERRORS_READ = 256


_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000)
"""An upstream writes the patterns, and the strings: one that takes more steps matches nothing. The default of a million
takes a tenth of a second for each string."""


class Promise:
    """A compiled schema."""

    def __init__(self, schema: Document) -> None:
        """Raises ValueError for one that cannot be used."""
        if branching.too_much(schema):
            raise ValueError("A schema asks more of a value than anybody waits for.")
        self._tells = not branching.too_much_to_tell(schema)
        self._compiled = jsonschema_rs.validator_for(
            schema, validate_formats=True, retriever=_nothing, pattern_options=_PATTERNS
        )
        self.is_valid: Callable[[Json], bool] = self._compiled.is_valid

    def faults(self, value: Json) -> list[Sequence[str | int]]:
        """Where `value`, which breaks the schema, does so, as paths of keys from its root; bounded. The root, where it
        would take too long to tell."""
        if not self._tells:
            return [()]
        return [error.instance_path for error in islice(self._compiled.iter_errors(value), _ERRORS_READ)]


def validator(schema: Document) -> Promise:
    """The compiled validator of `schema`, remembered. Formats count, and nothing is fetched. Raises MaskFault."""
    try:
        return _compiled(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))
    except (TypeError, ValueError) as problem:
        raise MaskFault("The tool's outputSchema cannot be used, so no masked result can keep it.") from problem


@lru_cache(maxsize=256)
def _compiled(schema: bytes) -> Promise:
    return Promise(orjson.loads(schema))


def _nothing(_uri: str) -> Json:
    raise ValueError("A schema refers to another document, and documents are not fetched.")
