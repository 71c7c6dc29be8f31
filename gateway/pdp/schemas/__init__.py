"""The JSON Schemas of what policy is asked, of what it answers and of the library's settings.

They come with phigate, because admission and the lint go by them; `policies/schema` is a link to this directory.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import orjson

from gateway.core.types import Document


@cache
def schema(name: str) -> Document:
    """The schema `input`, `decision` or `settings`; shared, so not to be changed."""
    read: Document = orjson.loads(resources.files(__name__).joinpath(f"{name}.json").read_bytes())
    return read
