"""Mail between processes that are none: what one sends the others have heard when it returns."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Post:
    """The boxes and the notes that all share. `sent`: every message, with its box. `dead`: who neither hears nor
    speaks any more."""

    ears: list = field(default_factory=list)
    notes: dict = field(default_factory=dict)
    sent: list = field(default_factory=list)
    dead: set = field(default_factory=set)


@dataclass
class FakeMail:
    """See `gateway.upstream.mail.Mail`."""

    name: str = "018f0000-0000-7000-8000-000000000001"
    post: Post = field(default_factory=Post)

    async def send(self, box, message):
        self.post.sent.append((box, message))
        for name, heard, hear in tuple(self.post.ears):
            if heard == box and name != self.name and not {name, self.name} & self.post.dead:
                hear(dict(message))

    @contextmanager
    def listen(self, box, hear):
        ear = self.name, box, hear
        self.post.ears.append(ear)
        try:
            yield
        finally:
            self.post.ears.remove(ear)

    async def note(self, key):
        return dict(self.post.notes.get(key, {}))

    async def change(self, key, change):
        self.post.notes[key] = change(await self.note(key))
