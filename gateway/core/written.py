"""Whether JSON that was read has all that was written: what two readers could understand differently is told apart.

Readers disagree on which of two members of one name counts, and on integers beyond 64 bits; orjson keeps the last
member and rounds such integers. Both can be seen by counting, without reading the JSON a second time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.core.types import Json

MEMBER = re.compile(r'"[ \t\r\n]*:')
"""How every member is written: a quote and a colon after its name."""
MEMBER_BYTES = re.compile(MEMBER.pattern.encode())


def holds_all(value: Json, members: int) -> bool:
    """Whether `value`, which orjson has read, plainly has all that was written with `members` finds of MEMBER. False
    where that takes another look.

    A member that is repeated is written as often, so as many finds as members means that none is; a string may hold
    more of them. An integer beyond 64 bits was read as a float of that size.
    """
    containers: list[Json] = [value]
    for each in containers:  # Grows on the way.
        if type(each) is dict:
            members -= len(each)
            items: Iterable[Json] = each.values()
        else:
            items = each if type(each) is list else (each,)
        for item in items:
            kind = type(item)
            if kind is dict or kind is list:
                containers.append(item)
            elif kind is float and abs(item) >= 2**63:  # type: ignore[arg-type] # its type was just asked
                return False
    return members == 0
