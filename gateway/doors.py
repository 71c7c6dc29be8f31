"""The doors that clients come to, as the configuration has them now: one for each upstream, one for each aggregate.

A running gateway takes other upstreams from its configuration file and drops nobody for it: what stayed the same is
kept with its sessions and programs, what was replaced ends the calls that run through it. A file with faults changes
nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import trio

from gateway import config as configuration
from gateway.config import Config
from gateway.config.upstream import AggregateConfig, UpstreamConfig
from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.core.facts import call as call_facts
from gateway.core.protocol.aggregate import Names
from gateway.core.protocol.jsonrpc import Limits
from gateway.core.types import Document, Era, UpstreamRef
from gateway.upstream import opened
from gateway.upstream.base import Bounds, Deadlines, HttpSettings, StdioSettings, Upstream
from gateway.upstream.mail import Mail
from gateway.upstream.retiring import Retiring
from gateway.web.desk import Aggregate, Door
from gateway.world import Evidence, World

PATIENCE_S = 30.0
"""How much longer than a call may take a replaced upstream is kept."""

logger = logging.getLogger("phigate")

_Wire = tuple[HttpSettings | StdioSettings, Era | None]


class Doors(Mapping[str, Door | Aggregate]):
    """By name, as they are now. Made by `open`."""

    def __init__(
        self,
        config: Config,
        world: Callable[[Upstream], World],
        changed: Callable[[str], Awaitable[None]],
        evidence: Evidence,
        mail: Mail,
        upstreams: trio.Nursery,
        visits: trio.Nursery,
    ) -> None:
        self.config = config
        self._world = world
        self._changed = changed
        self._evidence = evidence
        self._mail = mail
        self._upstreams = upstreams
        self._visits = visits
        self._open: dict[str, tuple[_Wire, Retiring]] = {}
        self._doors: dict[str, Door | Aggregate] = {}
        self._fault = ""
        self._asked = trio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        config: Config,
        world: Callable[[Upstream], World],
        changed: Callable[[str], Awaitable[None]],
        evidence: Evidence,
        mail: Mail,
    ) -> AsyncIterator[Doors]:
        """The doors of `config`, whose upstreams end with the block.

        `world` is what exchanges with an upstream are performed with; `changed` puts the digest of a configuration
        file on record before it counts.
        """
        async with trio.open_nursery() as upstreams:
            async with trio.open_nursery() as visits:
                self = cls(config, world, changed, evidence, mail, upstreams, visits)
                await self._take(config)
                try:
                    yield self
                finally:
                    for _, upstream in self._open.values():
                        upstream.close()
                    visits.cancel_scope.cancel()
            upstreams.cancel_scope.cancel()

    def __getitem__(self, name: str) -> Door | Aggregate:
        return self._doors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._doors)

    def __len__(self) -> int:
        return len(self._doors)

    def status(self) -> Document:
        """What readiness shows to anyone who reaches the port: whether the newest file is in force, never why not."""
        return {"upstreams": len(self.config.upstreams), "newest": "refused" if self._fault else "in force"}

    def look_again(self) -> None:
        """Somebody says that the configuration has changed (SIGHUP)."""
        self._asked.set()

    async def watch(self) -> None:
        """Take over what the file says of upstreams whenever it says something else. Runs for ever."""
        while True:
            with trio.move_on_after(self.config.gateway.reload_s):
                await self._asked.wait()
            self._asked = trio.Event()
            await self._look()

    async def _look(self) -> None:
        """Read the file, and what it names: a secret may have been renewed in a file of its own."""
        try:
            found = await trio.to_thread.run_sync(configuration.load, self.config.file)
        except ConfigFault as fault:
            self._refuse(fault.detail)
            return
        mine = replace(found, upstreams=self.config.upstreams, aggregates=self.config.aggregates)
        if mine != self.config:
            # The rest is built into this process: sockets, keys, the log, who may call.
            self._refuse(f"{found.file} changes more than upstreams and aggregates: restart to have that in force.")
            return
        self._fault = ""
        if found == self.config:
            return
        try:
            await self._changed(hashlib.sha256(await trio.Path(found.file).read_bytes()).hexdigest())
        except (EvidenceFault, OSError):
            return  # Nothing takes effect that is not on record; the next look tries again.
        await self._take(found)
        names = ", ".join(upstream.name for upstream in found.upstreams)
        logger.info("configuration: taken over from %s; upstreams: %s", found.file, names)

    def _refuse(self, why: str) -> None:
        if why != self._fault:
            logger.error("configuration: what was in force stays. %s", why)
        self._fault = why

    async def _take(self, config: Config) -> None:
        """Open what is new, put the doors up, and retire what is not needed any more."""
        before, self._open = self._open, {}
        doors: dict[str, Door | Aggregate] = {}
        for settings in config.upstreams:
            wire = wire_settings(settings, config.gateway.max_in_flight), settings.era
            kept = before.get(settings.name)
            if kept is not None and kept[0] == wire:
                del before[settings.name]
                upstream = kept[1]
            else:
                upstream = await self._upstreams.start(self._keep, wire)
            self._open[settings.name] = wire, upstream
            doors[settings.name] = _door(config, settings, self._world(upstream))
        doors |= {aggregate.name: self._aggregate(config, aggregate) for aggregate in config.aggregates}
        self.config, self._doors = config, doors
        for name, (_, replaced) in before.items():
            successor = self._open.get(name)
            replaced.retire(successor[1] if successor is not None else None)

    async def _keep(self, wire: _Wire, *, task_status: trio.TaskStatus[Retiring]) -> None:
        settings, era = wire
        async with opened(settings, self._mail, era) as inner:
            upstream = Retiring(inner)
            task_status.started(upstream)
            await upstream.over(settings.deadlines.call_s + PATIENCE_S)

    def _aggregate(self, config: Config, settings: AggregateConfig) -> Aggregate:
        return Aggregate(
            ref=UpstreamRef(settings.name),
            resource=config.resource(settings.name),
            names=Names(settings.upstreams, settings.plain),
            evidence=self._evidence,
            nursery=self._visits,
            wait_s=settings.wait_s,
            scopes=config.scopes(settings.name),
        )


def wire_settings(settings: UpstreamConfig, max_in_flight: int) -> HttpSettings | StdioSettings:
    """How an upstream is reached."""
    deadlines = Deadlines(settings.connect_s, settings.idle_s, settings.call_s)
    bounds = Bounds(message=Limits(settings.max_response_bytes, settings.max_depth))
    if settings.url is not None:
        # At least twice what one principal may have in flight: whoever takes all of that leaves the others as much.
        bounds = replace(bounds, max_connections=max(bounds.max_connections, 2 * max_in_flight))
        shown = settings.credentials
        return HttpSettings(settings.name, settings.url, settings.headers, shown, deadlines=deadlines, bounds=bounds)
    return StdioSettings(
        settings.name,
        settings.command,
        settings.cwd,
        settings.environment,
        settings.launcher,
        settings.shared,
        deadlines,
        replace(bounds, max_memory_bytes=settings.max_memory_bytes, max_cpu_s=settings.max_cpu_s),
    )


def _door(config: Config, settings: UpstreamConfig, world: World) -> Door:
    return Door(
        ref=UpstreamRef(settings.name, settings.labels),
        resource=config.resource(settings.name),
        world=world,
        facts=partial(call_facts.of, reading=_reading(settings)),
        greets=settings.url is None or settings.era is not Era.LEGACY,
        scopes=settings.required_scopes,
    )


def _reading(settings: UpstreamConfig) -> call_facts.Reading:
    # Looking for PHI costs as much as masking does, so it is looked for where the contract makes a difference.
    without_contract = settings.labels.get("baa", True) is not True
    return call_facts.Reading(
        settings.sql, settings.sql_dialect, settings.fhir, settings.fhir_bases, survey=without_contract
    )
