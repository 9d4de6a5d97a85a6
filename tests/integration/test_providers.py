"""How providers answer, as the log of a still Studio has it; and which key one accepts."""

from __future__ import annotations

from runbook import settings
from runbook.clients import Clients
from runbook.procedure import switch_provider
from runbook.secret import Secret
from runbook.studio import logs, outside, providers
from studio_sandbox.box import Box


def test_requests_are_counted_by_provider_and_minute_and_agree(box: Box) -> None:
    clients = Clients(settings.load("sandbox"))
    window = logs.window(minutes=60)
    known = clients.environment.providers

    by_model = providers.rates(providers.read_models(clients, window), known)
    minutes = providers.read_minutes(clients, window)

    assert by_model["openai"].requests > by_model["anthropic"].requests > 0
    assert by_model["google"].average_ms > 100
    assert providers.rates(minutes, known)["openai"].requests == by_model["openai"].requests
    assert minutes.minute.dtype.kind == "M"  # a time, not a text
    assert not set(minutes.provider) - set(known.known)


def test_a_picture_has_a_sentence(box: Box) -> None:
    drawn = switch_provider.plot(Clients(settings.load("sandbox")), minutes=15)
    assert drawn._repr_png_().startswith(b"\x89PNG")


def test_a_provider_accepts_its_own_keys_alone(box: Box) -> None:
    clients = Clients(settings.load("sandbox"))
    for provider in clients.environment.providers.known.values():
        assert providers.tried(clients, provider, clients.secret(provider.secret)) == 200
        assert providers.tried(clients, provider, Secret("nobody's-key", name="TEST")) == 401
    assert [one.says for one in outside.read_status(clients) if one.troubled] == []
