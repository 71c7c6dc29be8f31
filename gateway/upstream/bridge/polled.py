"""Requests of a legacy client about a task of a modern upstream.

What the tasks extension puts into the answer to a poll, questions and the result, a legacy client gets on the answer to
its `tasks/result`, which waits until the task has ended (MCP 2025-11-25, Tasks: Result Retrieval).
"""

from __future__ import annotations

from dataclasses import replace

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge, mcp
from gateway.core.protocol import bridge_tasks as wording
from gateway.core.protocol.jsonrpc import INVALID_PARAMS, Failure, Message, Request, Response, Success
from gateway.core.types import Document
from gateway.upstream.bridge.downward import Downward
from gateway.upstream.bridge.translated import answered

ABOUT_TASKS = frozenset({mcp.TASK_GET, mcp.TASK_CANCEL, wording.RESULT})
LASTS_S = 300.0
"""How long a `tasks/result` may wait; a client whose task is not over by then asks again."""
CANCELLED_S = 10.0
"""How long a task that was taken back may take to end."""


class Polled(Downward):
    """One `tasks/get`, `tasks/result` or `tasks/cancel`."""

    rounds = 1_000

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        assert isinstance(message, Request)
        self._request = message
        self._office.enlist(self._link.session, message.id, self.cancel)
        self._until = trio.current_time() + (CANCELLED_S if message.method == mcp.TASK_CANCEL else LASTS_S)
        self._taken_back = False
        self._asked: set[str] = set()
        """Keys of the questions that were put to the client: each is put once."""
        self._about: Document = {"taskId": message.params.get("taskId")}
        kept = await self._side.kept(str(message.params.get("taskId")))
        if kept is None:
            await self._forward(Request(message.id, mcp.TASK_GET, self._about))
        else:
            self._local.append(self._told(Success(message.id, kept)))

    def _questions(self, message: Success) -> dict[str, tuple[str, Document]] | None:
        """See `Downward`. Whatever is not told yet is polled for."""
        assert self._request is not None
        task = message.result if isinstance(message.result, dict) else {}
        if self._request.method == mcp.TASK_GET or task.get("status") in wording.ENDED:
            return None
        if self._request.method == mcp.TASK_CANCEL or task.get("status") != "input_required":
            return {}
        found = bridge.questions({**task, "resultType": mcp.INPUT_REQUIRED}) or {}
        fresh = {key: each for key, each in found.items() if key not in self._asked}
        self._asked.update(fresh)
        ident = str(self._request.params.get("taskId"))
        return {key: (method, wording.related(params, ident)) for key, (method, params) in fresh.items()}

    async def _go_on(self) -> None:
        """See `Downward`. The answers go to the task, not to the call."""
        assert self._request is not None
        if trio.current_time() >= self._until:
            raise UpstreamFault("the task has not ended yet; ask again", kind="timeout")
        if self._answers:
            answers: Document = {key: wording.unrelated(answer) for key, answer in self._answers.items()}
            await self._tell(mcp.TASK_UPDATE, {**self._about, mcp.INPUT_RESPONSES: answers})
        elif self._request.method == mcp.TASK_CANCEL and not self._taken_back:
            self._taken_back = True
            await self._tell(mcp.TASK_CANCEL, self._about)
        await self._forward(Request(self._request.id, mcp.TASK_GET, self._about))

    async def _answer(self, message: Response) -> Message:
        assert self._request is not None
        if isinstance(message, Failure):
            return replace(message, id=self._request.id)
        return self._told(message)

    def _told(self, message: Success) -> Response:
        """What the client is answered of a task that stands so."""
        assert self._request is not None
        task = message.result if isinstance(message.result, dict) else {}
        if self._request.method == wording.RESULT:
            found = wording.outcome(self._request, task)
            return Success(found.id, bridge.legacy_result(found.result)) if isinstance(found, Success) else found
        if self._request.method == mcp.TASK_CANCEL and (not self._taken_back or task.get("status") != "cancelled"):
            text = f"The task cannot be cancelled: it is over already, and has {task.get('status')}."
            return Failure(self._request.id, INVALID_PARAMS, text)
        return Success(self._request.id, wording.legacy(task))

    async def _tell(self, method: str, params: Document) -> None:
        await self._forward(Request("(task)", method, params))
        assert self._inner is not None
        answer = await answered(self._inner)
        await self._stack.aclose()
        if isinstance(answer, Failure):
            raise UpstreamFault("it refuses to take what its task needs to hear", kind="closed")
