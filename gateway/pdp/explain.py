"""Runs a policy whose sources tell what they do (`gateway.core.policy.explain`), and says it as documents.

For the child only (`gateway.pdp.ask`): what it runs cannot be interrupted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson

from gateway.core.errors import PolicyFault
from gateway.core.policy import explain as analysis
from gateway.core.policy.bundle import Source
from gateway.core.policy.explain import Body, Definition, Probed, Stop, Story, Trial
from gateway.core.policy.syntax import Path, Place
from gateway.core.types import Document, Json
from gateway.pdp.engine import Rego, load, reraise

_ROOT = re.compile(r'\bdata((?:\.[A-Za-z_]\w*|\["[^"\\]+"\])+)')
_SEGMENT = re.compile(r'\.([A-Za-z_]\w*)|\["([^"\\]+)"\]')
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def roots(query: str) -> list[Path]:
    """The paths of rules and packages that a query names."""
    return [tuple(dotted or quoted for dotted, quoted in _SEGMENT.findall(found[1])) for found in _ROOT.finditer(query)]


def explain(
    sources: Sequence[Source], data: Document, query: str, asked: str | None, expected: list[Json], named: list[Path]
) -> list[Json]:
    """A document for each rule reached from those `named`; `expected` is what `query` answers.

    `rule`; `value`, when it has one; `function`; `begun`: whether the engine came to it; `definitions`, each with
    `location`, `text`, `default` and `bodies`. A body has `location`, `text`, how often it was `begun` and `held`, the
    rules it `uses`, and, when it did not hold, where it `stopped`: the expression and the `values` of its names.

    Raises PolicyFault when the policy answers otherwise while it is being watched.
    """
    engine = load(tuple(sources), data)
    tree = orjson.loads(engine.get_ast_as_json())
    for values in (True, False):
        probed = analysis.instrument(tree, values=values)
        prints = _watch(probed, data, query, asked, expected)
        if prints is not None:
            break
    else:
        raise PolicyFault("This cannot be explained: the policy answers otherwise while it is being watched.")
    stories, _ = analysis.read(probed, prints, named)
    if asked is not None:
        engine.set_input_json(asked)
    engine.set_gather_prints(True)
    return [_story(story, engine) for story in stories]


def _watch(probed: Probed, data: Document, query: str, asked: str | None, expected: list[Json]) -> list[str] | None:
    """What the probes print; None when the answer is not the one `expected`."""
    try:
        engine = load(probed.sources, data)
        engine.set_gather_prints(True)
        if asked is not None:
            engine.set_input_json(asked)
        answer = orjson.loads(engine.eval_query_as_json(query)).get("result", [])
    except PolicyFault:
        return None
    except BaseException as raised:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
        reraise(raised)
        return None
    return engine.take_prints() if answer == expected else None


def name(path: Path) -> str:
    """A rule's path as Rego writes it."""
    return "data" + "".join(f".{part}" if _NAME.fullmatch(part) else f'["{part}"]' for part in path)


def _story(story: Story, engine: Rego) -> Document:
    told: Document = {"rule": name(story.path), "function": story.function, "begun": story.begun}
    if not story.function:
        try:
            found = orjson.loads(engine.eval_query_as_json(name(story.path))).get("result")
            if found:
                told["value"] = found[0]["expressions"][0]["value"]
        except BaseException as raised:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
            told["error"] = reraise(raised)
    told["definitions"] = [_definition(definition, trials) for definition, trials in story.parts]
    return told


def _definition(definition: Definition, trials: Sequence[Trial]) -> Document:
    return {
        "location": _location(definition.file, definition.place),
        "text": definition.text,
        "default": definition.rule.default,
        "bodies": [_trial(definition.file, trial) for trial in trials],
    }


def _trial(file: str, trial: Trial) -> Document:
    told: Document = {
        "location": _location(file, trial.body.place),
        "text": trial.body.text,
        "begun": trial.begun,
        "held": trial.held,
        "uses": [name(path) for path in _reached(trial.body, trial.stop)],
    }
    if trial.stop is not None:
        told["stopped"] = _stop(file, trial.stop)
    return told


def _reached(body: Body, stop: Stop | None) -> tuple[Path, ...]:
    """The rules that made a body hold, or not."""
    return body.reaches if stop is None else stop.step.uses


def _stop(file: str, stop: Stop) -> Document:
    told: Document = {
        "location": _location(file, stop.step.place),
        "text": stop.step.text,
        # A name that is undefined is not among them.
        "values": [
            {name: held[0] for name, held in row.items() if isinstance(held, list) and held} for row in stop.values
        ],
        "names": [*stop.step.names],
    }
    if stop.inner is not None:
        told["inner"] = _stop(file, stop.inner)
    return told


def _location(file: str, place: Place) -> Document:
    return {"file": file, "row": place.line, "col": place.column}
