"""SES: what an account may send, and what it has to wait for.

Plain moto sends for whoever has asked to be verified, to everyone, and knows no account.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names

ELSEWHERE = "eu-west-1"  # there the account never left SES's sandbox
STRANGER = "somebody@example.org"


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def send(ses: Any, source: str, to: str) -> Any:
    body = {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "b"}}}
    return ses.send_email(Source=source, Destination={"ToAddresses": [to]}, Message=body)


def send_v2(sesv2: Any, source: str, to: str) -> Any:
    simple = {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "b"}}}
    return sesv2.send_email(
        FromEmailAddress=source, Destination={"ToAddresses": [to]}, Content={"Simple": simple}
    )


def publish(route53: Any, *records: tuple[str, str]) -> None:
    (zone,) = route53.list_hosted_zones()["HostedZones"]
    changes = [
        {
            "Action": "UPSERT",
            "ResourceRecordSet": {
                "Name": name, "Type": "CNAME", "TTL": 60, "ResourceRecords": [{"Value": value}],
            },
        }
        for name, value in records
    ]  # fmt: skip
    route53.change_resource_record_sets(HostedZoneId=zone["Id"], ChangeBatch={"Changes": changes})


def dkim_records(domain: str, tokens: list[str]) -> list[tuple[str, str]]:
    return [(f"{one}._domainkey.{domain}", f"{one}.dkim.amazonses.com") for one in tokens]


def test_account_in_production_writes_to_everyone(changing: Callable[..., Any]) -> None:
    before = changing("ses").get_send_quota()["SentLast24Hours"]
    assert send(changing("ses"), names.MAIL_SENDER, STRANGER)["MessageId"]
    assert send_v2(changing("sesv2"), names.MAIL_SENDER, STRANGER)["MessageId"]
    assert changing("ses").get_send_quota()["SentLast24Hours"] == before + 2


def test_account_in_the_sandbox_writes_to_verified_addresses_only(
    changing: Callable[..., Any],
) -> None:
    ses, sesv2 = changing("ses", region=ELSEWHERE), changing("sesv2", region=ELSEWHERE)
    sub = f"mail.{names.DOMAIN}"
    tokens = sesv2.create_email_identity(EmailIdentity=sub)["DkimAttributes"]["Tokens"]
    publish(changing("route53"), *dkim_records(sub, tokens))
    source = f"from@{sub}"
    for sender, client in ((send, ses), (send_v2, sesv2)):
        assert sender(client, source, f"colleague@{sub}")["MessageId"]
        assert sender(client, source, "success@simulator.amazonses.com")["MessageId"]
        with pytest.raises(ClientError, match=rf"EU-WEST-1: {STRANGER}") as refused:
            sender(client, source, STRANGER)
        assert code_of(refused) == "MessageRejected"
    quota = sesv2.get_account()["SendQuota"]
    assert (quota["Max24HourSend"], quota["MaxSendRate"], quota["SentLast24Hours"]) == (200, 1, 4)


def test_identity_that_waits_sends_nothing(changing: Callable[..., Any]) -> None:
    changing("ses").verify_email_identity(EmailAddress=STRANGER)
    with pytest.raises(ClientError, match="Email address is not verified") as refused:
        send(changing("ses"), STRANGER, names.MAIL_SENDER)
    assert code_of(refused) == "MessageRejected"


def test_domain_is_verified_once_its_records_stand_in_dns(changing: Callable[..., Any]) -> None:
    sesv2, domain = changing("sesv2"), f"news.{names.DOMAIN}"
    made = sesv2.create_email_identity(EmailIdentity=domain)
    assert (made["VerifiedForSendingStatus"], made["DkimAttributes"]["Status"]) == (
        False,
        "PENDING",
    )
    records = dkim_records(domain, made["DkimAttributes"]["Tokens"])
    publish(changing("route53"), *records[:2])
    assert sesv2.get_email_identity(EmailIdentity=domain)["VerificationStatus"] == "PENDING"
    publish(changing("route53"), *records[2:])
    found = sesv2.get_email_identity(EmailIdentity=domain)
    assert (found["VerifiedForSendingStatus"], found["DkimAttributes"]["Status"]) == (
        True,
        "SUCCESS",
    )
    signing = changing("ses").get_identity_dkim_attributes(Identities=[domain])["DkimAttributes"]
    assert signing[domain]["DkimVerificationStatus"] == "Success"


def test_paused_account_sends_nothing_in_either_api(changing: Callable[..., Any]) -> None:
    changing("sesv2").put_account_sending_attributes(SendingEnabled=False)
    assert not changing("ses").get_account_sending_enabled()["Enabled"]
    with pytest.raises(ClientError) as refused:
        send(changing("ses"), names.MAIL_SENDER, STRANGER)
    assert code_of(refused) == "AccountSendingPausedException"
    with pytest.raises(ClientError) as refused:
        send_v2(changing("sesv2"), names.MAIL_SENDER, STRANGER)
    assert code_of(refused) == "SendingPausedException"
    changing("sesv2").put_account_sending_attributes(SendingEnabled=True)
    assert send(changing("ses"), names.MAIL_SENDER, STRANGER)["MessageId"]


def test_production_access_is_asked_for_and_waits(changing: Callable[..., Any]) -> None:
    sesv2 = changing("sesv2", region=ELSEWHERE)
    asked = {"MailType": "TRANSACTIONAL", "WebsiteURL": f"https://{names.DOMAIN}",
             "ProductionAccessEnabled": True}  # fmt: skip
    sesv2.put_account_details(**asked)
    account = sesv2.get_account()
    assert not account["ProductionAccessEnabled"]
    assert account["Details"]["ReviewDetails"]["Status"] == "PENDING"
    with pytest.raises(sesv2.exceptions.ConflictException):
        sesv2.put_account_details(**asked)


def test_suppressed_addresses_are_listed_until_they_are_forgiven(
    changing: Callable[..., Any],
) -> None:
    sesv2 = changing("sesv2")
    assert sesv2.list_suppressed_destinations()["SuppressedDestinationSummaries"] == []
    sesv2.put_suppressed_destination(EmailAddress=STRANGER, Reason="BOUNCE")
    (found,) = sesv2.list_suppressed_destinations()["SuppressedDestinationSummaries"]
    assert (found["EmailAddress"], found["Reason"]) == (STRANGER, "BOUNCE")
    assert sesv2.get_suppressed_destination(EmailAddress=STRANGER)["SuppressedDestination"]
    sesv2.delete_suppressed_destination(EmailAddress=STRANGER)
    with pytest.raises(sesv2.exceptions.NotFoundException):
        sesv2.get_suppressed_destination(EmailAddress=STRANGER)
