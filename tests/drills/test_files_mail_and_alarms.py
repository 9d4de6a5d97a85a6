"""Drills of buckets, mail and alarms: seen in S3, SES and CloudWatch, mended there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.drills.conftest import together
from tests.moving_studio import MovingStudio

from studio_sandbox.control_plane import names

_ASSETS = {"Bucket": names.ASSETS_BUCKET}


def refused(call: Any, **asked: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**asked)
    return str(error.value.response["Error"]["Code"])


def copy_back(s3: Any, keys: list[str]) -> None:
    def copy(key: str) -> None:
        s3.copy_object(**_ASSETS, Key=key, CopySource={"Bucket": names.BACKUP_BUCKET, "Key": key})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(copy, keys))


def mail(studio: MovingStudio) -> str:
    return str(
        studio.client("sesv2").send_email(
            FromEmailAddress=names.MAIL_SENDER,
            Destination={"ToAddresses": [f"someone@{names.DOMAIN}"]},
            Content={"Simple": {"Subject": {"Data": "Your link"}, "Body": {"Text": {"Data": "…"}}}},
        )["MessageId"]
    )


def test_deleted_objects_mail_and_alarms_are_mended_each_by_its_own(studio: MovingStudio) -> None:
    seeds = {"objects-deleted": 1, "mail-sandboxed": 1, "alarms-drifted": 1}
    with together(studio, seeds) as broken:
        objects, account, alarms = broken.values()

        s3 = studio.client("s3")
        hidden, destroyed = objects.details["hidden"], objects.details["destroyed"]
        assert refused(s3.head_object, **_ASSETS, Key=hidden[0]) == "404"
        markers = s3.list_object_versions(**_ASSETS)["DeleteMarkers"]
        assert {one["Key"] for one in markers} == set(hidden)
        for marker in markers:
            s3.delete_object(**_ASSETS, Key=marker["Key"], VersionId=marker["VersionId"])
        still = f"{names.ASSETS_BUCKET}: {len(destroyed)} objects are gone"
        assert objects.findings() == [still]
        copy_back(s3, destroyed)
        assert objects.until_mended().unneeded == ()

        assert refused(lambda: mail(studio)) == "SendingPausedException"
        sesv2 = studio.client("sesv2")
        sesv2.put_account_sending_attributes(SendingEnabled=True)  # it is another switch
        assert len(account.findings()) == 3
        studio.client("ses").verify_domain_dkim(Domain=names.MAIL_DOMAIN)
        sesv2.put_account_details(
            MailType="TRANSACTIONAL",
            WebsiteURL=f"https://{names.APP_HOST}",
            UseCaseDescription="Links to sign in, which customers have asked for.",
            ProductionAccessEnabled=True,
        )
        assert account.until_mended().unneeded == ()

        cloudwatch = studio.client("cloudwatch")
        there = cloudwatch.describe_alarms(AlarmNames=list(names.ALARMS))["MetricAlarms"]
        assert len(there) == len(names.ALARMS) - len(alarms.details["missing"])
        wanted: dict[str, dict[str, Any]] = alarms.details["wanted"]
        for name in (*alarms.details["missing"], *alarms.details["late"]):
            cloudwatch.put_metric_alarm(**wanted[name])
        assert alarms.findings()  # one of them still tells nobody
        cloudwatch.enable_alarm_actions(AlarmNames=alarms.details["silent"])
        assert alarms.until_mended().unneeded == ()


def test_a_deleted_bucket_is_mended_when_it_is_whole_and_as_protected_as_before(
    studio: MovingStudio,
) -> None:
    with together(studio, {"bucket-deleted": 1}) as broken:
        (one,) = broken.values()
        s3 = studio.client("s3")
        assert refused(s3.head_bucket, **_ASSETS) == "404"
        s3.create_bucket(
            **_ASSETS, CreateBucketConfiguration={"LocationConstraint": studio.box.region}
        )
        copy_back(s3, list(one.details["wanted"]))
        assert {finding.partition(": ")[2] for finding in one.findings()} == {
            "versioning is not as it was",
            "public access is not as it was",
        }
        s3.put_bucket_versioning(**_ASSETS, VersioningConfiguration={"Status": "Enabled"})
        s3.put_public_access_block(
            **_ASSETS, PublicAccessBlockConfiguration=one.details["protection"]["public access"]
        )
        assert one.until_mended().unneeded == ()
