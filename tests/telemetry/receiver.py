"""An OTLP/HTTP receiver: takes traces, as a collector does, and tells which spans came. Run as a program.

POST /v1/traces takes an ExportTraceServiceRequest. GET /spans is every span so far, as JSON. POST /manner with `well`,
`badly` (status 400, whose body quotes a secret) or `never` (no answer at all) says how it is from now on.
"""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SPANS: list[dict[str, Any]] = []
MANNER = ["well"]
SECRET = b"a secret of the collector's"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/manner":
            MANNER[0] = body.decode()
            self.answer(204, b"")
        elif MANNER[0] == "never":
            threading.Event().wait()
        elif MANNER[0] == "badly":
            self.answer(400, SECRET)
        else:
            plain = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            SPANS.extend(spans(plain, self.headers.get("authorization")))
            self.answer(200, b"")

    def do_GET(self) -> None:
        self.answer(200, json.dumps(SPANS).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def spans(body: bytes, authorization: str | None) -> list[dict[str, Any]]:
    """The spans of a request, flat."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        {
            "name": span.name,
            "trace": span.trace_id.hex(),
            "span": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "kind": span.kind,
            "status": span.status.code,
            "began": span.start_time_unix_nano,
            "ended": span.end_time_unix_nano,
            "links": [[link.trace_id.hex(), link.span_id.hex()] for link in span.links],
            "told": {each.key: each.value.string_value for each in span.attributes},
            "of": {each.key: each.value.string_value for each in resource.resource.attributes},
            "authorization": authorization,
        }
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def main() -> None:
    """Serve on loopback until told to stop; the first line says where."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
