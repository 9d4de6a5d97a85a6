"""One thread that moves tasks and services on while anything is in flight.

It keeps nothing of its own. All that is in flight is in the state that `/sandbox/reset` empties,
and each tick holds the lock that requests hold.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback

from studio_sandbox.control_plane import ecs_service, ecs_task, pace
from studio_sandbox.control_plane.behaviours import Behaviours
from studio_sandbox.control_plane.moto_adapter import core, ecs_services, ecs_tasks
from studio_sandbox.control_plane.vitals import Vitals

_STOPPED_SHOWN_S = 3600


class Scheduler:
    """Ticks from `wake` until nothing is in flight in any of its regions."""

    def __init__(
        self, account: str, regions: tuple[str, ...], behaviours: Behaviours, vitals: Vitals
    ) -> None:
        self._account, self._regions = account, regions
        self._behaviours, self._vitals = behaviours, vitals
        self._awake = threading.Event()
        threading.Thread(target=self._run, name="scheduler", daemon=True).start()

    def wake(self) -> None:
        """Something was asked for: look, and go on looking until it is done."""
        self._awake.set()

    def tick(self, now: float) -> bool:
        """One step of everything; whether another one is needed."""
        busy = [self._step(region, now) for region in self._regions]  # every one, busy or not
        return any(busy)

    def _run(self) -> None:
        while self._awake.wait():
            self._awake.clear()
            try:
                with core.LOCK:
                    busy = self.tick(time.monotonic())
            except Exception:  # one bad tick must not end the data plane for good
                traceback.print_exc(file=sys.stderr)
                busy = False
            if busy:
                self._awake.set()
            time.sleep(pace.TICK_S)

    def _step(self, region: str, now: float) -> bool:
        services = {one.name: one for one in ecs_services.all_services(self._account, region)}
        life = ecs_task.Life(self._account, region, self._behaviours, self._vitals, now)
        tasks = ecs_tasks.all_of(self._account, region)
        busy = [life.step(task, services.get(task.service)) for task in tasks]
        busy += [ecs_service.step(service, now) for service in services.values()]
        ecs_services.count_clusters(self._account, region)
        ecs_tasks.forget_stopped(self._account, region, after_s=_STOPPED_SHOWN_S, now=now)
        return any(busy)
