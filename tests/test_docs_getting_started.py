"""docs/getting-started.md is done as it says, with a provider, a server and a client that we did not write."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests import oidc_provider, real_parts
from tests.e2e.harness import free_port
from tests.test_docs_authoring import Shell, Step, same, shell, steps

PAGE = Path(__file__).resolve().parent.parent / "docs" / "getting-started.md"
ISSUER = "https://login.example.com/realms/clinic"
PROGRAMS = ("mcp-server-filesystem", "mcp-inspector")


def page(issuer: str, port: int) -> str:
    """The page with this provider for the one it names, and this port for that of a new configuration."""
    return re.sub(r"\b8080\b", str(port), PAGE.read_text()).replace(ISSUER, issuer)


def programs(place: Path) -> None:
    """What the page has installed with npm."""
    for name in PROGRAMS:
        (place / "bin" / name).symlink_to(real_parts.npm_tool(name))
    (place / "bin" / "node").symlink_to(real_parts.node())


def played(running: Shell, issuer: str) -> Iterator[tuple[Step, str, int]]:
    port = free_port()
    for step in steps(page(issuer, port)):
        printed, code = running.do(step)
        yield step, printed, code
        if step.command.startswith("phigate init"):
            running.run(f"sed -i 's/:8080/:{port}/' my-gateway/phigate.toml")


def check(place: Path, issuer: str) -> int:
    """Do the page in `place`; how many commands that were."""
    count = 0
    with shell(place) as running:
        programs(place)
        running.run(f"export HOME={place}")
        for step, printed, code in played(running, issuer):
            count += 1
            assert code == 0, f"{PAGE.name}:{step.line}: {step.command}\nended with {code}:\n{printed}"
            assert same(step.output, printed), (
                f"{PAGE.name}:{step.line}: {step.command}\n--- the page shows\n{step.output}--- it printed\n{printed}"
            )
    return count


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs the Debian package curl")
async def test_the_page_is_done_as_it_says(tmp_path):
    async with oidc_provider.running() as provider:
        assert await trio.to_thread.run_sync(check, tmp_path, provider.issuer) > 15
