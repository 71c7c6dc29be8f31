"""`phigate policy new`: a guard to start from, with tests, cases and page; it passes them from the first minute."""

from __future__ import annotations

import argparse
import re
from importlib import resources
from pathlib import Path
from string import Template

from rich.console import Console

from gateway.cli.policy import shared
from gateway.core.errors import PolicyFault

TABLE = Path("gateway/call/call.rego")
"""The source that names every guard of calls."""

_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}", re.ASCII)
_WORDS = frozenset(
    "as contains data default else every false if import in input not null package some true with".split()
)
_ROW = re.compile(r'^reasons\("[a-z0-9_]+"\) := data\.gateway\.[a-z0-9_]+\.reasons$', re.MULTILINE)
_FILES = {
    "guard.rego": "{name}.rego",
    "guard_test.rego": "{name}_test.rego",
    "guard_cases.yaml": "{name}_cases.yaml",
    "README.md": "README.md",
}


def add(verbs: shared.Verbs) -> None:
    """Register `phigate policy new`."""
    help_ = "write a guard to start from: rule, tests, cases and page"
    verb = verbs.add_parser("new", help=help_, description=help_.capitalize() + ".")
    verb.add_argument("name", help="what the guard is called: small letters, digits and _")
    verb.add_argument(
        "-d",
        "--data",
        type=Path,
        default=Path("policies"),
        metavar="DIR",
        help="the policies to add it to, as `phigate init` writes them (default: policies)",
    )
    verb.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the guard and name it in the table of guards. Raises PolicyFault when anything of that is there already."""
    name, policies = arguments.name, arguments.data
    _refuse_name(name)
    directory = policies / "gateway" / name
    table = _registered(policies / TABLE, name)
    if directory.exists():
        raise PolicyFault(f"{directory} is there already. Choose another name, or take it away first.")
    texts = {directory / named.format(name=name): _filled(template, name) for template, named in _FILES.items()}
    try:
        directory.mkdir()
        for file, text in texts.items():
            file.write_text(text, "utf-8")
        (policies / TABLE).write_text(table, "utf-8")
    except OSError as fault:
        raise PolicyFault(f"{fault.filename or directory} cannot be written: {fault.strerror}.") from None
    _tell(name, policies, list(texts))
    return 0


def _refuse_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise PolicyFault(f"{name!r} can be no guard's name: small letters, digits and _, 2 to 40, first a letter.")
    if name in _WORDS or name.endswith("_test"):
        raise PolicyFault(f"{name!r} can be no guard's name: it is a word of Rego, or looks like a package of tests.")


def _registered(file: Path, name: str) -> str:
    """The table of guards with this one added to it. Raises PolicyFault when there is none, or it is in it."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise PolicyFault(
            f"{file} cannot be read: it names every guard. Name the directory of the policies with -d; `phigate init` "
            "writes one."
        ) from None
    rows = list(_ROW.finditer(text))
    if not rows:
        raise PolicyFault(f'{file} has no table of guards to add to: no `reasons("…") := data.gateway.….reasons`.')
    if f'verdict("{name}")' in text:
        raise PolicyFault(f"{file} names a guard {name!r} already. Choose another name.")
    end = rows[-1].end()
    return text[:end] + "".join(f"\n\n{row}" for row in _rows(name)) + text[end:]


def _rows(name: str) -> tuple[str, ...]:
    return tuple(f'{rule}("{name}") := data.gateway.{name}.{rule}' for rule in ("verdict", "reasons"))


def _filled(template: str, name: str) -> str:
    """A file of the scaffold for a guard of this name."""
    text = resources.files("gateway.cli.policy.scaffold").joinpath(template).read_text("utf-8")
    return Template(text).substitute(name=name, title=name.replace("_", " ").capitalize())


def _tell(name: str, policies: Path, written: list[Path]) -> None:
    console = Console(soft_wrap=True)
    for file in written:
        console.print(f"wrote {file}", markup=False, highlight=False)
    console.print(f"added to the table of guards in {policies / TABLE}:", markup=False, highlight=False)
    for row in _rows(name):
        console.print(f"  {row}", markup=False, highlight=False)
    lines = (
        f"It decides nothing until {policies / 'gateway/settings/data.json'} switches it on, under `guards`:",
        f'  "{name}": {{"tools": ["export_everything"]}}',
        f"Next: edit the rule, then `phigate policy test {policies}` and `phigate policy check {policies}`.",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False)
