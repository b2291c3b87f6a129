"""The sandbox's own API, beside those it imitates: its clock, its score and its faults."""

from __future__ import annotations

from typing import Any

from gnnrl.cluster.clock import AcceleratedClock, Clock, SteppedClock
from gnnrl.live.sandbox.faults import FaultError, FaultPlan, FaultSpec
from gnnrl.live.sandbox.http_server import HttpError, JsonServer, Request, Response
from gnnrl.live.sandbox.world import SandboxWorld

__all__ = ["ControlApi", "speed_of"]

LONGEST_STEP_SECONDS = 366 * 86_400.0


def speed_of(clock: Clock) -> float | None:
    """Seconds that pass for each second of the machine; 0 = it is moved by hand, None = unknown."""
    if isinstance(clock, AcceleratedClock):
        return clock.speed
    return 0.0 if isinstance(clock, SteppedClock) else None


class ControlApi(JsonServer):
    """`GET /clock`, `GET /score`, `GET`, `POST` and `DELETE /faults`, and `POST /advance` if the clock is moved by hand.

    Args:
        world: whose score.
        plan: of the faults.
        clock: whose time it is.
        host, port: see `JsonServer`.
    """

    def __init__(
        self, world: SandboxWorld, plan: FaultPlan, clock: Clock, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        super().__init__("control", clock=clock, host=host, port=port)
        self.world, self.plan = world, plan

    def handle(self, request: Request) -> Response:
        """Answer a request."""
        match request.method, request.path:
            case "GET", "/clock":
                return Response.of_json({"now": self.clock.now(), "speed": speed_of(self.clock)})
            case "GET", "/score":
                return Response.of_json(self.world.score())
            case "GET", "/faults":
                return Response.of_json(self._faults())
            case "POST", "/faults":
                return self._add(request.json())
            case "DELETE", "/faults":
                self.plan.clear()
                return Response.of_json(self._faults())
            case "POST", "/advance":
                return self._advance(request.json())
        raise HttpError(
            404,
            f"{request.method} {request.path}: there are GET /clock, GET /score, GET, POST and DELETE /faults, POST /advance",
        )

    def _faults(self) -> dict[str, Any]:
        """All that are planned, each with whether it lasts now."""
        now = self.plan.now
        return {
            "now": now,
            "faults": [{**spec.to_json(), "active": spec.start <= now < spec.end} for spec in self.plan.specs],
        }

    def _add(self, content: object) -> Response:
        now = self.plan.now
        try:
            specs = [FaultSpec.from_json(one, now) for one in (content if isinstance(content, list) else [content])]
        except FaultError as error:
            raise HttpError(400, str(error)) from error
        self.plan.add(*specs)
        return Response.of_json(self._faults(), 201)

    def _advance(self, content: object) -> Response:
        if not isinstance(self.clock, SteppedClock):
            raise HttpError(409, "the clock runs by itself; only one that is moved by hand (--speed 0) can be advanced")
        seconds = content.get("seconds") if isinstance(content, dict) else None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise HttpError(400, 'send {"seconds": N}')
        if not 0.0 <= seconds <= LONGEST_STEP_SECONDS:
            raise HttpError(400, f"seconds: {seconds} is not between 0 and {LONGEST_STEP_SECONDS:g}")
        self.clock.sleep_until(self.clock.now() + seconds)
        self.world.advance()
        return Response.of_json({"now": self.clock.now(), "speed": 0.0})
