"""SES: out of the mail sandbox, with a signing domain and the address that mails come from."""

from __future__ import annotations

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter.ses import Mail
from studio_sandbox.control_plane.seed.world import World, digest

DKIM_TOKENS = [digest(f"dkim/{n}", 32) for n in range(3)]
_SENT_LAST_DAY = 4_318


def seed(world: World) -> None:
    """The account and its two identities."""
    mail = Mail(world.account, world.region)
    mail.in_production(sent=_SENT_LAST_DAY, until=world.anchor)
    created = world.ago(days=405)
    mail.identity(names.MAIL_DOMAIN, dkim_tokens=DKIM_TOKENS, created=created)
    mail.identity(names.MAIL_SENDER, dkim_tokens=[], created=created)
