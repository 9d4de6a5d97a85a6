"""What befalls the Studio without a call of anybody's: nodes die, AWS decides, regions are gone.

    POST   /sandbox/misfortunes   {"misfortune": "cache-lost"}
    DELETE /sandbox/misfortunes   it is as if nothing had happened; ?misfortune=cache-lost: of that

cache-lost      the primary of the cache's replication group is gone, until a replica takes over
mail-reviewed   AWS has put SES back into its sandbox, and no longer finds the domain's records
region-lost     nothing in the primary region answers, its database neither; the cache does, which
                stands for one that is replicated
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.cache import Cache
from studio_sandbox.control_plane.databases.all import Cluster, Databases
from studio_sandbox.control_plane.moto_adapter import core, elasticache_changes, ses

_WITHIN_S = 30.0


class Misfortunes:
    """All that can happen, and what has."""

    def __init__(
        self, account: str, region: str, cache: Cache, databases: Databases | None
    ) -> None:
        self._account, self._region, self._cache = account, region, cache
        self._databases = databases
        self._happened: list[str] = []
        self.lost_region = ""  # whose calls are cut
        elasticache_changes.on_promotion(cache.come_back)
        self._known: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
            "cache-lost": (self._lose_cache, self._find_cache),
            "mail-reviewed": (self._review_mail, self._forgive_mail),
            "region-lost": (self._lose_region, self._find_region),
        }

    def happen(self, name: str) -> list[str]:
        """Let it happen; all that has. Raises ValueError: there is no such misfortune."""
        if name not in self._known:
            raise ValueError(f"misfortune {name!r}; there are {', '.join(self._known)}")
        self._known[name][0]()
        self._happened = [*(one for one in self._happened if one != name), name]
        return self._happened

    def undo(self, name: str = "") -> list[str]:
        """Take one back, or all."""
        for one in [each for each in self._happened if name in ("", each)]:
            self._known[one][1]()
            self._happened.remove(one)
        return self._happened

    def _lose_cache(self) -> None:
        self._cache.lose()
        with core.LOCK:
            elasticache_changes.lose_primary(self._account, self._region, names.REDIS_GROUP)

    def _find_cache(self) -> None:
        self._cache.come_back()
        with core.LOCK:
            elasticache_changes.find_primary(self._account, self._region, names.REDIS_GROUP)

    def _lose_region(self) -> None:
        self.lost_region = self._region
        self._have_done(lambda cluster: cluster.rest())

    def _find_region(self) -> None:
        self._have_done(lambda cluster: cluster.serve())
        self.lost_region = ""

    def _have_done(self, work: Callable[[Cluster], None]) -> None:
        """Have this done with the Studio's own database, after what it is about to do."""
        if self._databases:
            cluster, done = self._databases.primary, threading.Event()
            cluster.do(lambda: work(cluster))
            cluster.do(done.set)
            done.wait(_WITHIN_S)

    def _review_mail(self) -> None:
        with core.LOCK:
            ses.review(self._account, self._region, names.MAIL_DOMAIN, good=False)

    def _forgive_mail(self) -> None:
        with core.LOCK:
            ses.review(self._account, self._region, names.MAIL_DOMAIN, good=True)
