"""The report of `phigate policy diff` as one page of HTML: nothing is loaded, nothing runs, everything is escaped."""

from __future__ import annotations

from html import escape

from gateway.core.types import Document, Json

BAR = 260
"""Width of the longest bar, in pixels."""
ROWS = 50
"""Lines of one table; JSON has all."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430 }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem }
h3 { font-size: .9rem; margin: 1rem 0 .2rem; color: #57606a }
table { border-collapse: collapse; width: 100% } td, th { padding: .25rem .6rem .25rem 0; vertical-align: top }
th { font-weight: 600; border-bottom: 1px solid #d0d7de } th:not(.n) { text-align: left } .n { text-align: right }
td.bar { width: 270px } code { font: 12px/1.4 ui-monospace, monospace; overflow-wrap: anywhere }
.loosens { color: #b42318 } .tightens { color: #8a5a00 } .made { color: #57606a; font-size: 13px }
@media print { body { margin: 0; max-width: none } h2 { break-after: avoid } tr { break-inside: avoid } }
"""
_TITLES = {
    "newly-allowed": "Newly allowed",
    "newly-approvable": "Denied so far, may now be approved",
    "no-longer-needing-approval": "No longer needing approval",
    "newly-unmasked": "Newly unmasked",
    "newly-visible": "Newly visible in listings",
    "newly-denied": "Newly denied",
    "newly-needing-approval": "Newly needing approval",
    "newly-masked": "Newly masked",
    "newly-hidden": "Newly hidden from listings",
    "fails": "The candidate gives no decision (the gateway denies)",
    "masked-differently": "Masked in another way",
    "approval-terms": "Other approval terms",
    "otherwise": "Other reasons, labels or masks without effect here",
}
_GROUPS = (
    ("by_rule", "rule", "Rule"),
    ("by_tool", "tool", "Tool or method"),
    ("by_upstream", "upstream", "Upstream"),
    ("by_principal", "principal", "Principal"),
)


def page(document: Document) -> str:
    """The page for a report as `policy diff --format json` prints it."""
    changes = [item for item in _list(document["changes"]) if isinstance(item, dict)]
    body = [
        "<h1>What this policy would change</h1>",
        f"<p>{_summary(document)}</p>",
        _overview(changes),
        *(_section(change) for change in changes),
        _troubles(document),
        _made(document),
    ]
    head = f'<meta charset="utf-8"><title>Policy diff</title><style>{_STYLE}</style>'
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    return (
        f'<!doctype html>\n<html lang="en"><head>{policy}{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"
    )


def _summary(document: Document) -> str:
    decisions, changed = _number(document["decisions"]), _number(document["changed"])
    if not changed:
        return f"Of {decisions:,} recorded decisions it changes <b>none</b>."
    exchanges = _number(document["exchanges_changed"])
    return f"Of {decisions:,} recorded decisions it changes <b>{changed:,}</b>, in {exchanges:,} exchanges."


def _overview(changes: list[Document]) -> str:
    most = max((_number(change["decisions"]) for change in changes), default=0)
    rows = [
        f"<tr><td>{_title(change)}</td><td class=n>{_number(change['decisions']):,}</td>"
        f"<td class=bar>{_bar(change['decisions'], most, _class(change))}</td></tr>"
        for change in changes
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _section(change: Document) -> str:
    parts = [f'<h2 class="{_class(change)}">{_title(change)}: {_number(change["decisions"]):,} decisions</h2>']
    for member, name, title in _GROUPS:
        rows = [row for row in _list(change[member]) if isinstance(row, dict)]
        most = max((_number(row["decisions"]) for row in rows), default=0)
        lines = [_line(row, name, most, _class(change)) for row in rows[:ROWS]]
        if len(rows) > ROWS:
            lines.append(f"<tr><td>… {len(rows) - ROWS:,} more</td></tr>")
        samples = "<th>Such as the exchanges</th>" if name == "rule" else ""
        parts.append(
            f"<table><tr><th>{title}</th><th class=n>Decisions</th><th></th>{samples}</tr>{''.join(lines)}</table>"
        )
    return "\n".join(parts)


def _line(row: Document, name: str, most: int, kind: str) -> str:
    samples = _list(row.get("samples", []))
    shown = "<br>".join(f"<code>{escape(str(sample))}</code>" for sample in samples)
    last = f"<td>{shown}</td>" if name == "rule" else ""
    bar = _bar(row["decisions"], most, kind)
    text = f"<td>{escape(str(row[name]))}</td><td class=n>{_number(row['decisions']):,}</td><td class=bar>{bar}</td>"
    return f"<tr>{text}{last}</tr>"


def _bar(value: Json, most: int, kind: str) -> str:
    width = max(2, round(BAR * _number(value) / most)) if most else 0
    fill = "#d92d20" if kind == "loosens" else "#c98a00"
    return (
        f'<svg width="{BAR}" height="14" role="img" aria-label="{_number(value)}">'
        f'<rect width="{width}" height="12" y="1" rx="2" fill="{fill}"/></svg>'
    )


def _troubles(document: Document) -> str:
    parts = []
    if document["moot"]:
        text = "decisions more are about results that would not come about: their call would be denied."
        parts.append(f"<p>{_number(document['moot']):,} {text}</p>")
    for name, title in (
        ("stopped", "Decisions that ended the process that made them"),
        ("unreadable", "Decisions on record that could not be read"),
    ):
        items = [item for item in _list(document[name]) if isinstance(item, dict)]
        if items:
            lines = "".join(f"<li>leaf {escape(str(item['leaf']))}: {escape(str(item['why']))}</li>" for item in items)
            parts.append(f"<h2>{title}: {len(items):,}</h2><ul>{lines}</ul>")
    return "\n".join(parts)


def _made(document: Document) -> str:
    made = document["made"]
    assert isinstance(made, dict)
    filters = made["filters"]
    chosen = ", ".join(f"{name} {value}" for name, value in filters.items()) if isinstance(filters, dict) else ""
    rows = {
        "Candidate": _bundle(made["candidate"]),
        "Compared with": _bundle(made["base"]),
        "Recorded traffic": f"leaves {made['first']} to {made['last']}" + (f"; {chosen}" if chosen else ""),
        "Made at": f"{made['at']}, in {made['seconds']} s by {made['processes']} process(es), engine {made['engine']}",
        "Principals": "are pseudonyms, as in the evidence log; samples are ids of exchanges. No content is shown.",
        "Newly unmasked": "is told by the classes and places that were on record for each result: where they leave "
        "doubt, it is counted.",
    }
    lines = "".join(f"<tr><th>{name}</th><td>{escape(str(text))}</td></tr>" for name, text in rows.items())
    return f'<h2>How this was made</h2><table class="made">{lines}</table>'


def _bundle(value: Json) -> str:
    return f"bundle {value['digest']}, revision {value['revision']}" if isinstance(value, dict) else str(value)


def _title(change: Document) -> str:
    kind = str(change["kind"])
    return escape(_TITLES.get(kind, kind))


def _class(change: Document) -> str:
    return "loosens" if change["loosens"] else "tightens"


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0
