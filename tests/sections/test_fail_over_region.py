"""fail-over-region: the other region serves, from a copied snapshot or a secondary; and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests import aurora
from tests.moving_studio import MovingStudio
from tests.sections.running import approve, cut_off, plan_and_apply, resume, run, undo

from runbook import settings
from runbook.clients import Clients
from runbook.errors import NotReachable
from runbook.procedure import fail_over
from studio_sandbox.box import BACKUP_REGION
from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.seed.facts import SERVICE_FACTS

SLUG, ACCEPTED = "fail-over-region", 3000
WANTED = {name: facts.desired for name, facts in SERVICE_FACTS.items()}
NONE = dict.fromkeys(WANTED, 0)
HOSTS = {names.APP_HOST, names.API_HOST, names.GATEWAY_HOST}


class There:
    """The backup region, as another client sees it."""

    def __init__(self, studio: MovingStudio) -> None:
        self.studio = studio

    def client(self, service: str) -> Any:
        return aurora.client(self.studio.box, service, BACKUP_REGION)

    def tasks(self) -> dict[str, int]:
        found = self.client("ecs").describe_services(
            cluster=names.CLUSTER, services=list(names.SERVICES)
        )["services"]
        return {one["serviceName"]: one["desiredCount"] for one in found}

    def ranges(self) -> dict[str, list[int]]:
        found = self.client("application-autoscaling").describe_scalable_targets(
            ServiceNamespace="ecs"
        )["ScalableTargets"]
        return {
            one["ResourceId"].rpartition("/")[2]: [one["MinCapacity"], one["MaxCapacity"]]
            for one in found
        }

    def clusters(self) -> dict[str, dict[str, Any]]:
        found = self.client("rds").describe_db_clusters()["DBClusters"]
        return {one["DBClusterIdentifier"]: one for one in found}

    def dsn(self) -> str:
        client = self.client("secretsmanager")
        return str(client.get_secret_value(SecretId=names.DATABASE_URL)["SecretString"])

    def led(self) -> dict[str, str]:
        """The region of the load balancer that each name leads to."""
        dns = self.client("route53")
        (zone,) = dns.list_hosted_zones()["HostedZones"]
        found = dns.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
        return {
            one["Name"].rstrip("."): one["AliasTarget"]["DNSName"].rstrip(".").split(".")[-4]
            for one in found
            if one["Type"] == "A"
        }


@pytest.fixture
def there(put_back: MovingStudio) -> Iterator[There]:
    yield There(put_back)
    put_back.control("DELETE", "misfortunes")


def lose(studio: MovingStudio) -> None:
    studio.control("POST", "misfortunes", {"misfortune": "region-lost"})


def test_a_lost_region_is_failed_over_from_through_a_kill_and_led_back_to(
    there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio, home = there.studio, there.studio.box.region
    before = there.ranges()
    lose(studio)

    refused = run(studio, SLUG)
    assert (refused["verdict"], refused["error"]["class"]) == ("refused", "BadInput")
    assert "would be lost" in refused["error"]["message"]
    assert (
        f"accept_loss_minutes {refused['result']['loss_minutes'] + 60}" in refused["error"]["next"]
    )

    planned = run(studio, SLUG, accept_loss_minutes=ACCEPTED)
    digest = planned["plan"]["digest"]
    kinds = [one["kind"] for one in planned["plan"]["changes"]]
    assert kinds[:3] == ["aurora-cluster-kept", "aurora-instance-kept", "dsn-cluster"]
    assert kinds[-4:] == ["services-started", "dns-alias", "dns-alias", "dns-alias"]
    approve(studio, digest)
    there.client("ecs").update_service(cluster=names.CLUSTER, service=names.WORKER, desiredCount=1)
    stale = run(studio, SLUG, apply=digest)
    assert (stale["verdict"], stale["error"]["class"]) == ("refused", "PlanStale")
    assert there.clusters() == {}
    there.client("ecs").update_service(cluster=names.CLUSTER, service=names.WORKER, desiredCount=0)

    cut_off(studio, SLUG, apply=digest, when=there.clusters, what="the restore has begun")
    assert there.tasks() == NONE
    done = resume(studio, SLUG, digest)

    assert done["verdict"] == "succeeded", done["error"]
    (cluster,) = there.clusters().values()
    assert cluster["DBSubnetGroup"] == "ai-studio-db-subnets"
    assert there.dsn() == aurora.dsn(studio.box, cluster)
    assert int(aurora.psql(there.dsn(), "SELECT count(*) FROM users")) > 1000
    assert there.tasks() == WANTED
    assert there.led() == dict.fromkeys(HOSTS, BACKUP_REGION)
    for host, path in ((names.API_HOST, "/v1/health"), (names.GATEWAY_HOST, "/v1/health")):
        assert studio.ask(path, host=host).status == 200
    assert run(studio, SLUG)["verdict"] == "no_change"

    monkeypatch.setenv("RUNBOOK_HOME", str(studio.box.folder.parent))
    found = settings.load("sandbox")
    turned = found.regions.model_copy(update={"active": "backup"})
    clients = Clients(found.model_copy(update={"regions": turned}))
    with pytest.raises(NotReachable, match=f"{home} does not answer, so it cannot take over"):
        fail_over.read(clients, although_it_answers=True, accept_loss_minutes=ACCEPTED)

    taken_back = undo(studio, done["run_id"])

    assert taken_back["verdict"] == "succeeded", taken_back["error"]
    assert there.led() == dict.fromkeys(HOSTS, home)
    assert (there.tasks(), there.ranges()) == (NONE, before)
    assert there.clusters().keys() == {cluster["DBClusterIdentifier"]}  # what was written is there
    again = run(studio, SLUG)["result"]
    assert again["loss_minutes"] > 0  # it is used no more, so it is as old as its copy


def test_a_secondary_is_promoted_with_all_that_had_arrived(there: There) -> None:
    studio, follower = there.studio, "ai-studio-db-follower"
    home, away = studio.client("rds"), there.client("rds")
    studio.until(lambda: "LatestRestorableTime" in aurora.cluster(home), "the first backup")
    primary = aurora.cluster(home)["DBClusterArn"]
    home.create_global_cluster(GlobalClusterIdentifier="all", SourceDBClusterIdentifier=primary)
    made = away.create_db_cluster(
        DBClusterIdentifier=follower, Engine="aurora-postgresql", GlobalClusterIdentifier="all"
    )["DBCluster"]
    aurora.add_instance(away, follower)
    aurora.until_served(away, follower)
    ((users,),) = studio.rows("SELECT count(*) FROM users")
    lose(studio)

    done = plan_and_apply(studio, SLUG, accept_loss_minutes=ACCEPTED)

    assert done["verdict"] == "succeeded", done["error"]
    (found,) = away.describe_global_clusters(GlobalClusterIdentifier="all")["GlobalClusters"]
    writers = [one["DBClusterArn"] for one in found["GlobalClusterMembers"] if one["IsWriter"]]
    assert writers == [made["DBClusterArn"]]
    assert there.dsn() == aurora.dsn(studio.box, aurora.cluster(away, follower))
    assert aurora.psql(there.dsn(), "SELECT count(*) FROM users") == str(users)
    assert there.tasks() == WANTED
    assert there.led() == dict.fromkeys(HOSTS, BACKUP_REGION)
    assert done["result"]["loss_minutes"] == 0


def test_what_the_other_region_lacks_is_said_all_at_once_and_nothing_is_changed(
    there: There,
) -> None:
    studio = there.studio
    well = run(studio, SLUG)
    assert well["verdict"] == "no_change"
    assert "answers" in well["result"]["says"]

    ecr, ecs = there.client("ecr"), there.client("ecs")
    (backend,) = ecs.describe_services(cluster=names.CLUSTER, services=[names.BACKEND])["services"]
    definition = ecs.describe_task_definition(taskDefinition=backend["taskDefinition"])
    image = definition["taskDefinition"]["containerDefinitions"][0]["image"]
    ecr.batch_delete_image(
        repositoryName=names.BACKEND, imageIds=[{"imageTag": image.rpartition(":")[2]}]
    )
    refused = run(studio, SLUG, although_it_answers=True)

    assert refused["verdict"] == "refused"
    said = refused["error"]["message"]
    assert "ai-studio-backend: its image has left ECR" in said
    assert "would be lost" in said
    assert there.clusters() == {}
    assert there.tasks() == NONE
    assert there.led() == dict.fromkeys(HOSTS, studio.box.region)
