"""The seeded account as one thing: emptied and filled again, under one lock."""

from __future__ import annotations

from datetime import datetime

from studio_sandbox.control_plane import one_off, pace, seed
from studio_sandbox.control_plane.config import Config
from studio_sandbox.control_plane.databases.all import Databases
from studio_sandbox.control_plane.moto_adapter import alarm_evaluation, core, rds_data, ses_account

SEED = 20251110


class Studio:
    """All AWS state of the sandbox. `seed` may be called again: it starts from nothing."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.account = config.account
        self.anchor = config.anchor
        self.databases = Databases(config) if config.servers else None
        rds_data.use(self.databases)
        if not config.still:
            ses_account.answer_reviews(pace.MAIL_REVIEW_S)

    def seed(self, anchor: datetime) -> None:
        """Replace everything by the Studio as it is at `anchor`. Same anchor, same ids."""
        one_off.stop_all()
        if self.databases:
            self.databases.empty()
        with core.LOCK:
            core.empty()
            core.seed_ids(SEED)
            seed.everything(self.config, anchor, seed=SEED)
            core.seed_ids(SEED + 1 if self.config.still else None)
            self.anchor = anchor
            if not self.config.still:
                alarm_evaluation.evaluate_at(pace.ALARM_FACTOR, since=anchor)

    def begin_history(self) -> None:
        """The servers are filled too: what happens from now on can be restored."""
        if self.databases:
            self.databases.begin()
