"""Makes the virtual environment of a lock: `python3 locks/install.py demo` or `dev`. Needs nothing but Python.

Every file is checked against the hash in the lock. What is already there is left alone, so this is quick when little
has changed. The Makefile calls it when a lock is newer than the environment.
"""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if sys.platform == "win32" else "bin")
LEAST = (3, 11)


def main(name: str) -> None:
    """Bring .venv to what `locks/<name>.lock` says, with phigate itself installed in place."""
    if sys.version_info < LEAST:
        have = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"phigate needs Python 3.11 or newer; {sys.executable} is {have}. Try: make PYTHON=python3.12 …")
    lock = ROOT / "locks" / f"{name}.lock"
    total = sum(not line.startswith((" ", "#")) for line in lock.read_text().splitlines())
    if not (BIN / "python").exists():
        say(f"Making {VENV.name} …")
        venv.create(VENV, with_pip=True)
    say(f"Installing the {total} packages of locks/{name}.lock, each checked against its hash …")
    pip("--require-hashes", "-r", str(lock), total=total)
    pip("--no-deps", "--no-build-isolation", "-e", str(ROOT), total=1)


def pip(*arguments: str, total: int) -> None:
    """Run pip, showing how far it is; what it said is shown only if it failed."""
    command = [str(BIN / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *arguments]
    said = []
    done = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            said.append(line)
            if line.startswith(("Collecting ", "Requirement already satisfied")) and sys.stdout.isatty():
                done += 1
                print(f"\r  {done}/{total}", end="", flush=True)
            elif line.startswith("Installing collected") and total > 1:
                say("\r  Unpacking …")
    if process.returncode:
        sys.exit("".join(said[-25:]) + "\nThe installation failed, see above. Put that right and run make again.")


def say(text: str) -> None:
    """Tell it now: pip takes its time."""
    print(text, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
