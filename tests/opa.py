"""Real OPA, in this process: what regorus's decisions and its speed are compared with.

OPA's own Go library behind a C interface, in a package that says it wants a newer Python than it needs. Only tests and
benchmarks load it. The Go runtime brings threads and signal handlers of its own, so tests ask it in a process of its
own (`tests/agreement/`); benchmarks want it here.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import sys
from collections.abc import Iterable
from typing import Any

from gateway.core.policy.bundle import Source
from gateway.core.types import Document, Json
from tests import real_parts

VERSION = "1.20.2"
"""Of OPA, as the library's list of Go modules says."""


class Opa:
    """One engine with these sources and base data; each path that is asked for is prepared once."""

    def __init__(self, sources: Iterable[Source], data: Document) -> None:
        """Raises RuntimeError with OPA's own error when it does not load or compile them."""
        library = str(real_parts.python_library("opa"))
        if library not in sys.path:
            sys.path.append(library)
        self._bindings: Any = importlib.import_module("opa_bindings")
        self._engine = self._bindings.OpaEngine()
        try:
            for source in sources:
                self._engine.add_policy(source.path, source.text)
            self._engine.add_data(data)
            self._engine.eval_query("true")
        except self._bindings.OpaError as fault:
            raise RuntimeError(str(fault)) from None
        self._native = self._engine._lib
        self._handle = self._engine._handle

    def ask(self, path: bytes, asked: bytes) -> bytes:
        """OPA's whole answer to an input (JSON text) about the document at `path` (dotted, without `data`): JSON."""
        pointer = self._native.OpaEvalDocument(self._handle, path, asked, 0, 0)
        answer = ctypes.string_at(pointer)
        self._native.OpaFreeString(pointer)
        return answer

    def value(self, path: str, asked: bytes) -> tuple[Json, str]:
        """The document at `path` and, when it has none, why: OPA's error, or `undefined`."""
        answer = json.loads(self.ask(path.encode(), asked))
        if answer.get("error"):
            return None, f"error: {answer['error']['message']}"
        found = answer.get("result")
        return (found[0]["expressions"][0]["value"], "") if found else (None, "undefined")
