"""docs/policy-documents.md: what policy is asked, what it may answer and how the library is set, field by field."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "policy-documents.md"
SCHEMAS = ROOT / "policies" / "schema"
HEAD = """# What policy is asked, what it may answer, how the library is set

Written by `make docs` from [`policies/schema/`](../policies/schema/); a test compares both. `[]` is any item of a list,
`*` any name. A field that may be missing is marked `?`. Anything that is not here is a fault: an answer with it is a
denial.
"""
PARTS = (("input", "What policy is asked"), ("decision", "What it may answer"), ("settings", "The library's settings"))

Schema = dict[str, Any]


def page() -> str:
    """The whole page."""
    return HEAD + "".join(part(name, title) for name, title in PARTS)


def part(name: str, title: str) -> str:
    """One schema: what it is as a whole, then each of its definitions."""
    schema: Schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    definitions: Schema = schema.get("$defs", {})
    sections = [f"\n## {title}\n\n{schema['description']}\n" if "description" in schema else f"\n## {title}\n"]
    if "properties" in schema:
        sections.append(table(name, schema))
    for definition, inner in ordered(schema, definitions):
        sections.append(f"\n### {name}: {definition}\n\n{inner.get('description', '')}\n{table(name, inner)}")
    return "".join(sections)


def ordered(schema: Schema, definitions: Schema) -> Iterator[tuple[str, Schema]]:
    """The definitions, those first that stand for a whole document."""
    whole = [one["$ref"].rsplit("/", 1)[1] for key in ("oneOf", "anyOf") for one in schema.get(key, [])]
    for name in [*whole, *(name for name in definitions if name not in whole)]:
        yield name, definitions[name]


def table(of: str, schema: Schema) -> str:
    """The fields of an object, with those of objects inside it."""
    found = [f"| `{path}` | {kind(of, inner)} | {said(inner)} |\n" for path, inner in fields(schema, "")]
    return "\n| field | | |\n|---|---|---|\n" + "".join(found) if found else f"\n{kind(of, schema)}\n"


def fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    for choice in (*schema.get("oneOf", []), *schema.get("anyOf", [])):
        if choice.get("properties"):
            yield from fields(choice, path)
    for name, inner in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here + ("" if name in schema.get("required", []) else "?"), inner
        yield from below(inner, here)
    if not path and isinstance(schema.get("additionalProperties"), dict):
        yield from below(schema, "")


def below(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """The fields inside a field, but for those that have a section of their own."""
    if "properties" in schema or "oneOf" in schema:
        yield from fields(schema, path)
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(key), dict):
            yield from below(schema[key], path + mark)


def kind(of: str, schema: Schema) -> str:
    """What a value is, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{of}-{name})"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    inner = [kind(of, one) for key in ("oneOf", "anyOf") for one in schema.get(key, [])]
    if inner:
        return " or ".join(dict.fromkeys(inner))
    types = schema.get("type", "anything")
    words = types if isinstance(types, list) else [types]
    if words == ["array"] and "items" in schema:
        return f"array of {kind(of, schema['items'])}"
    return " or ".join(words)


def said(schema: Schema) -> str:
    """Its description, on one line of a table."""
    return re.sub(r"\s+", " ", schema.get("description", "")).replace("|", "&#124;")


def undescribed(schema: Schema) -> list[str]:
    """Fields that nobody described: neither constants nor references to what is described elsewhere."""
    definitions = schema.get("$defs", {})
    bare = [f"{name} itself" for name, inner in definitions.items() if "description" not in inner]
    for name, whole in [("", schema), *definitions.items()]:
        bare += [
            f"{name} {path}" for path, inner in fields(whole, "") if not {"description", "const", "$ref"} & inner.keys()
        ]
    return bare
