"""Runs the services of a compose file as containers are run, without Docker: for root on Linux.

Each service has a network namespace with an address on a bridge for each of its networks, and a root file system of
its own that is read-only but for what the compose file mounts; it runs as the image's user, without capabilities. What
its image would hold is bound from this machine (`Image`). Names of services are in /etc/hosts, as Docker's resolver has
them: those with which a network is shared.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

START_S = 90.0
STOP_S = 60.0
DIRECTORIES = ("bin", "sbin", "lib", "lib64")
"""Of /usr: a Debian's programs and libraries."""
USERS = {"root": 0, "nginx": 101, "postgres": 999, "node": 1000, "phigate": 10001}


@dataclass(frozen=True)
class Image:
    """What stands for an image: programs of this machine, and how the image would start them."""

    entrypoint: Sequence[str]
    user: str
    """`uid:gid`"""
    command: Sequence[str] = ()
    cwd: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict)
    health: Sequence[str] = ()
    binds: Mapping[str, Path] = field(default_factory=dict)
    """Path in the container -> what is there, read-only. Programs of /usr and a few devices are there always."""


@dataclass
class Container:
    """A service: its namespaces, kept by a process that does nothing, and its program once started."""

    name: str
    service: Mapping[str, Any]
    image: Image
    root: Path
    keeper: subprocess.Popen[bytes]
    addresses: dict[str, str]
    """Network -> address."""
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def command(self, arguments: Sequence[str]) -> list[str]:
        """A command line that runs `arguments` inside, as the user of the service and with no more rights than it."""
        user, group = str(self.service.get("user", self.image.user)).split(":")
        kept = ",".join(["-all", *(f"+{right.lower()}" for right in self.service.get("cap_add", []))])
        environment = {"PATH": "/usr/sbin:/usr/bin", **self.image.environment, **self.service.get("environment", {})}
        return [
            *("nsenter", "--target", str(self.keeper.pid), "--net", "--mount", "--"),
            *("chroot", str(self.root)),
            *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"),
            *(f"--bounding-set={kept}", f"--inh-caps={kept}", "--"),
            *("env", "-i", f"--chdir={self.image.cwd}", *(f"{name}={value}" for name, value in environment.items())),
            *arguments,
        ]

    def start(self) -> None:
        """Start the service's program."""
        arguments = [str(word) for word in self.service.get("command", self.image.command)]
        with self.log.open("ab") as log:
            self.log.chmod(0o666)
            self.process = subprocess.Popen(
                self.command([*self.service.get("entrypoint", self.image.entrypoint), *arguments]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run something else inside, as `docker compose exec` does."""
        return subprocess.run(self.command(arguments), capture_output=True, text=True, timeout=START_S, check=False)

    def healthy(self) -> bool:
        """Whether the health check of the service, or else of its image, passes."""
        told = self.service.get("healthcheck", {}).get("test")
        check = told[1:] if told else self.image.health
        return not check or self.run(*map(str, check)).returncode == 0

    def finish(self) -> None:
        """Wait for a program that ends by itself; it must end well."""
        assert self.process is not None
        assert self.process.wait(START_S) == 0, f"{self.name}:\n{self.log.read_text()[-4000:]}"

    def stop(self) -> None:
        """SIGTERM, as Docker does it, or what the image asks for instead."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT if "database" in self.name else signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Machine:
    """A machine with the containers of one compose file on it."""

    def __init__(self, place: Path, directory: Path, model: Mapping[str, Any], images: Mapping[str, Image]) -> None:
        """`directory`: where the compose file is; `images`: by the name before the colon."""
        self.place = place
        self.containers: dict[str, Container] = {}
        self._directory = directory
        self._model = model
        self._images = images
        self._hub = _keeper("--net")
        subnets = (f"10.231.{number}" for number in range(1, 70))
        self._subnets = {}
        for number, (name, network) in enumerate(model["networks"].items()):
            told = (network or {}).get("ipam", {}).get("config", [{}])[0].get("subnet")
            self._subnets[name] = told.rpartition(".")[0] if told else next(subnets)
            _in(self._hub, "ip", "link", "add", f"br{number}", "type", "bridge")
            _in(self._hub, "ip", "link", "set", f"br{number}", "up")

    def up(self, *wanted: str) -> None:
        """Start services and what they wait for, each when what it waits for is there."""
        for name in wanted:
            for other, told in self._model["services"][name].get("depends_on", {}).items():
                if other not in self.containers:
                    self.up(other)
                if told["condition"] == "service_completed_successfully":
                    self.containers[other].finish()
                elif told["condition"] == "service_healthy":
                    self._wait(self.containers[other])
            if name not in self.containers:
                self.create(name)
                self.containers[name].start()

    def create(self, name: str) -> Container:
        """A container that nothing runs in yet."""
        service = self._model["services"][name]
        image = self._images[service["image"].partition(":")[0]]
        made = Container(
            name, service, image, self.place / "roots" / name, _keeper("--net", "--mount"), {}, self.place / name
        )
        self.containers[name] = made
        networks = service.get("networks", {})
        for number, network in enumerate(self._model["networks"]):
            if network in networks:
                self._plug(made, number, network, networks[network] if isinstance(networks, dict) else None)
        _in(made.keeper, "ip", "link", "set", "lo", "up")
        self._furnish(made)
        for each in self.containers.values():  # They learn each other's names.
            self._hosts(each)
        return made

    def _plug(self, made: Container, number: int, network: str, told: Mapping[str, Any] | None) -> None:
        order = list(self._model["services"]).index(made.name)
        address = (told or {}).get("ipv4_address", f"{self._subnets[network]}.{130 + order}")
        outer, inner = f"v{order}-{number}", f"eth{number}"
        peer = ("type", "veth", "peer", "name", inner, "netns", str(made.keeper.pid))
        _in(self._hub, "ip", "link", "add", outer, *peer)
        _in(self._hub, "ip", "link", "set", outer, "master", f"br{number}", "up")
        _in(made.keeper, "ip", "addr", "add", f"{address}/24", "dev", inner)
        _in(made.keeper, "ip", "link", "set", inner, "up")
        made.addresses[network] = address

    def _furnish(self, made: Container) -> None:
        """The container's file system, seen by its own mount namespace alone."""
        root = made.root
        root.mkdir(parents=True)
        self._within(made, f"mount --make-rprivate / && mount -t tmpfs -o mode=0755 root {root}")
        for name in DIRECTORIES:
            self._within(made, f"ln -s usr/{name} {root}/{name}")
        self._within(made, f"mkdir -p {root}/dev && ln -s /proc/self/fd/1 {root}/dev/stdout")
        self._within(made, f"ln -s /proc/self/fd/2 {root}/dev/stderr")
        for name in ("null", "zero", "random", "urandom"):
            self._within(made, f"touch {root}/dev/{name} && mount --bind /dev/{name} {root}/dev/{name}")
        for path in ("/tmp:mode=1777", "/dev/shm:mode=1777", *made.service.get("tmpfs", [])):
            target, _, options = path.partition(":")
            self._within(made, f"mkdir -p {root}{target} && mount -t tmpfs -o {options} tmpfs {root}{target}")
        for volume in made.service.get("volumes", []):
            bound = volume["type"] == "bind"
            source = self._directory / volume["source"] if bound else self.place / "volumes" / volume["source"]
            if not source.exists():
                source.mkdir(parents=True)
                if user := _owner_of_new_volume(volume["target"]):
                    os.chown(source, user, user)
            self._bind(made, source, volume["target"], read_only=bool(volume.get("read_only")))
        # After those, because on this machine it may be below /tmp.
        for target, source in self._binds(made.image).items():
            self._bind(made, source, target)
        self._within(made, f"mkdir -p {root}/proc && mount --rbind /proc {root}/proc && mount -o remount,ro {root}")

    def _binds(self, image: Image) -> dict[str, Path]:
        etc = self.place / "etc"
        etc.mkdir(exist_ok=True)
        (etc / "passwd").write_text("".join(f"{name}:x:{id}:{id}::/:/bin/sh\n" for name, id in USERS.items()))
        (etc / "group").write_text("".join(f"{name}:x:{id}:\n" for name, id in USERS.items()))
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
        ours = {f"/etc/{file.name}": file for file in etc.iterdir()}
        programs = {f"/usr/{name}": Path("/usr") / name for name in DIRECTORIES}
        return {**programs, "/etc/ld.so.cache": Path("/etc/ld.so.cache"), **ours, **image.binds}

    def _bind(self, made: Container, source: Path, target: str, *, read_only: bool = True) -> None:
        place = f"{made.root}{target}"
        make = f"mkdir -p {place}" if source.is_dir() else f"mkdir -p $(dirname {place}) && touch {place}"
        self._within(made, f"{make} && mount --bind {source.resolve()} {place}")
        if read_only:
            self._within(made, f"mount -o remount,bind,ro {place}")

    def _within(self, made: Container, script: str) -> None:
        _in(made.keeper, "sh", "-ec", script, more=("--mount",))

    def _hosts(self, made: Container) -> None:
        """Docker's resolver: names and aliases of those on the same networks."""
        lines = ["127.0.0.1 localhost"]
        for other in self.containers.values():
            networks = other.service.get("networks", {})
            for network in set(made.addresses) & set(other.addresses):
                told = (networks[network] if isinstance(networks, dict) else None) or {}
                lines.append(" ".join([other.addresses[network], other.name, *told.get("aliases", [])]))
        hosts = self.place / f"hosts-{made.name}"
        fresh = not hosts.exists()
        hosts.write_text("\n".join(lines) + "\n")
        if fresh:
            self._within(made, f"mount -o remount,rw {made.root}")
            self._bind(made, hosts, "/etc/hosts")
            self._within(made, f"mount -o remount,ro {made.root}")

    def _wait(self, container: Container) -> None:
        deadline = time.monotonic() + START_S
        while not container.healthy():
            process = container.process
            alive = process is not None and process.poll() is None
            assert alive, f"{container.name} ended:\n{container.log.read_text()[-4000:]}"
            assert time.monotonic() < deadline, f"{container.name} is not healthy:\n{container.log.read_text()[-4000:]}"
            time.sleep(0.1)

    def wait(self, *names: str) -> None:
        """Return when the health checks of these services pass."""
        for name in names:
            self._wait(self.containers[name])

    def down(self) -> None:
        """Stop everything, the last started first; nothing is left of the namespaces."""
        for container in reversed(self.containers.values()):
            container.stop()
        for keeper in (*(each.keeper for each in self.containers.values()), self._hub):
            keeper.kill()
            keeper.wait()


def _owner_of_new_volume(target: str) -> int | None:
    """Whose a named volume is when Docker makes it: it takes over from the image what is at its place."""
    return USERS["postgres"] if target == "/var/lib/postgresql" else None


def _keeper(*namespaces: str) -> subprocess.Popen[bytes]:
    """A process that keeps new namespaces alive, and with which they end."""
    ours = [os.readlink(f"/proc/self/ns/{each[2:].replace('mount', 'mnt')}") for each in namespaces]
    process = subprocess.Popen(["unshare", *namespaces, "--", "sleep", "infinity"])
    while [os.readlink(f"/proc/{process.pid}/ns/{each[2:].replace('mount', 'mnt')}") for each in namespaces] == ours:
        assert process.poll() is None, "unshare ended"
        time.sleep(0.005)
    return process


def _in(keeper: subprocess.Popen[bytes], *command: str, more: Sequence[str] = ()) -> None:
    done = subprocess.run(
        ["nsenter", "--target", str(keeper.pid), "--net", *more, "--", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


def needed() -> None:
    """Skip the test unless containers can be made here."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network and mount namespaces")
    for program, package in (
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
        ("ip", "iproute2"),
        ("nginx", "nginx-light"),
        ("wget", "wget"),
    ):
        if shutil.which(program) is None:
            pytest.skip(f"needs Debian's {program}: apt-get install {package}")
    if platform.machine() != "x86_64":
        pytest.skip("needs x86-64: npm's PostgreSQL is built for it")
    if subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a machine that lets root make namespaces")


@contextmanager
def machine(place: Path, directory: Path, model: Mapping[str, Any], images: Mapping[str, Image]) -> Iterator[Machine]:
    """A machine for the length of the block."""
    needed()
    made = Machine(place, directory, model, images)
    try:
        yield made
    finally:
        made.down()
