"""docs/policy-authoring.md is done as it says: every command in order, every file written, every output compared.

`python -m tests.test_docs_authoring` does the same and shows what each command printed.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_docs import normal

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "policy-authoring.md"
PORTS = ("8090", "8099")
"""Those on the page; each run takes free ones."""

CODE = "echo $?"
COMMAND_S = 180
STOP_S = 30
_BLOCK = re.compile(
    r"(?:^\*\*(?P<path>[\w./-]+)\*\*\n\n?)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_MARK = "\x1e"


@dataclass(frozen=True, slots=True)
class Step:
    """A command with what it prints, or a file to be written or changed; with its line on the page."""

    line: int
    command: str
    output: str = ""
    diff: str = ""
    """What to do to the file that the command prints."""


def steps(page: str) -> Iterator[Step]:
    """Everything on the page that is to be done. Raises ValueError for a block that nobody would run."""
    for found in _BLOCK.finditer(page):
        line = page.count("\n", 0, found.start("text")) + 1
        match found["path"], found["kind"]:
            case None, "console":
                yield from _commands(found["text"], line)
            case str(path), "diff":
                yield Step(line, f"cat {path}", diff=found["text"])
            case str(path), _:
                yield Step(line, _written(path, found["text"]))
            case _:
                raise ValueError(f"line {line}: a block that is neither a console nor a file")


def _written(path: str, text: str) -> str:
    return f"cat > {path} <<'END'\n{text}END"


def _commands(text: str, line: int) -> Iterator[Step]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command = re.match(r"(?:.*\\\n)*.*\n", part)
        assert command is not None
        yield Step(line, command[0].rstrip("\n"), part[command.end() :])
        line += part.count("\n")


class Shell:
    """A shell in a directory of its own, which a page's commands follow each other in."""

    def __init__(self, place: Path) -> None:
        programs = place / "bin"
        programs.mkdir()
        (programs / "phigate").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gateway "$@"\n')
        (programs / "phigate").chmod(0o755)
        (place / "work").mkdir()
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=place / "work",
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "COLUMNS": "120"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def do(self, step: Step) -> tuple[str, int]:
        """What the step printed, and its exit code."""
        printed, code = self.run(step.command)
        if step.diff and code == 0:
            return self.run(_written(step.command.removeprefix("cat "), changed(printed, step.diff)))
        return printed, code

    def run(self, command: str) -> tuple[str, int]:
        """What the command printed, and its exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\nprintf '{_MARK}%s{_MARK}' $?\n".encode())
        self._process.stdin.flush()
        told, until = b"", time.monotonic() + COMMAND_S
        while not told.endswith(_MARK.encode()) or told.count(_MARK.encode()) < 2:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0, until - time.monotonic()))
            more = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            assert more, f"no end of `{command}`: {told.decode(errors='replace')}"
            told += more
        output, code, _ = told.decode().split(_MARK)
        return output, int(code)

    def end(self) -> None:
        """End the shell and all that it left running, and wait for them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.stdin.close()
        until = time.monotonic() + STOP_S
        while select.select([self._process.stdout], [], [], max(0, until - time.monotonic()))[0]:
            if not os.read(self._process.stdout.fileno(), 65536):
                break
        else:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.stdout.close()
        self._process.wait()


@contextmanager
def shell(place: Path) -> Iterator[Shell]:
    running = Shell(place)
    try:
        yield running
    finally:
        running.end()


def with_free_ports(page: str) -> str:
    for port in PORTS:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            page = re.sub(rf"\b{port}\b", str(probe.getsockname()[1]), page)
    return page


def same(shown: str, printed: str) -> bool:
    """Whether the page shows what was printed. A line `…` stands for any lines, `…` in a line for anything in it."""
    wanted = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in told(shown).splitlines()
    )
    return re.fullmatch(wanted, told(printed)) is not None


def told(text: str) -> str:
    """The text without what differs from run to run."""
    text = re.sub(r"\b\d+(\.\d+)?(ms|µs|s)\b", "N s", normal(text)).strip("\n")
    return text + "\n" if text else ""


def changed(text: str, diff: str) -> str:
    """The text with the lines of a diff in place of what they replace, which must be there once."""
    before = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in " -")
    after = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in " +")
    if text.count(before) != 1:
        raise ValueError(f"{text.count(before)} times in the file:\n{before}")
    return text.replace(before, after)


def played(place: Path) -> Iterator[tuple[Step, str, int]]:
    """Does the page in `place`: each step, what it printed and its exit code."""
    code = 0
    with shell(place) as running:
        for step in steps(with_free_ports(PAGE.read_text())):
            printed, code = (f"{code}\n", 0) if step.command == CODE else running.do(step)
            yield step, printed, code


NEEDED = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("openssl")), reason="needs the Debian packages curl and openssl"
)


@NEEDED
def test_the_page_is_done_as_it_says(tmp_path):
    ended = 0
    for step, printed, code in played(tmp_path):
        assert ended == 0 or step.command == CODE, f"{PAGE.name}:{step.line}: the command before ended with {ended}"
        assert same(step.output, printed), (
            f"{PAGE.name}:{step.line}: {step.command}\n--- the page shows\n{step.output}--- it printed\n{printed}"
        )
        ended = code


def test_a_block_that_would_not_run_is_refused():
    with pytest.raises(ValueError, match="line 3: a block that is neither"):
        list(steps("x\n```rego\nx := 1\n```\n"))


@pytest.mark.parametrize(
    ("shown", "printed", "alike"),
    [
        ("a\n…\nd\n", "a\nb\nc\nd\n", True),
        ("a\n…\nd\n", "a\nb\nc\n", False),
        ("one … three\n", "one two three\n", True),
        ("took 3ms\n", "took 4.5µs\n", True),
        ("allow\n", "deny\n", False),
        ("", "Traceback\n", False),
    ],
)
def test_what_a_command_prints_is_compared(shown, printed, alike):
    assert same(shown, printed) is alike


def test_a_change_that_fits_nowhere_is_refused():
    assert changed("a\nb\n", "-a\n+c\n b\n") == "c\nb\n"
    with pytest.raises(ValueError, match="0 times"):
        changed("a\n", "-b\n+c\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        for done, output, exit_code in played(Path(temporary)):
            mark = "  " if same(done.output, output) else "✘ "
            print(f"{mark}{done.line} [{exit_code}] $ {done.command}\n{output}", flush=True)
