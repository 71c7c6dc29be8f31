"""An environment of its own for the peer, under .cache, from a list of exact versions."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

HERE = Path(__file__).parent
PLACE = HERE.parent / ".cache" / "fastmcp"
LOCK = HERE / "fastmcp.lock"


def python() -> Path:
    """The interpreter of the peer's environment, which is made when it is missing or of another lock.

    Raises RuntimeError when the packages cannot be had.
    """
    stamp = PLACE / "lock"
    interpreter = PLACE / "bin" / "python"
    if stamp.exists() and stamp.read_text() == LOCK.read_text():
        return interpreter
    print(f"making {PLACE} with the peer in it …")
    venv.create(PLACE, clear=True, with_pip=True)
    # Without dependencies, because the lock names them all: fastmcp asks for a newer certifi than is published.
    install = [str(interpreter), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(LOCK)]
    if subprocess.run(install, check=False).returncode != 0:
        raise RuntimeError("The peer's packages could not be installed. Is the package index reachable?")
    stamp.write_text(LOCK.read_text())
    return interpreter
