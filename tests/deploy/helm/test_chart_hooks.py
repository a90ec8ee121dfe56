"""What runs around an install, an upgrade and a rollback: the migration, and the test."""

import ast
import subprocess
import sys

import pytest

from gateway.commands.migrate import migrate
from tests.deploy.helm.conftest import Render
from tests.deploy.helm.value_sets import EVERYTHING, MINIMAL, ONE_POD, SETS, SEVERAL_SECRETS, Values

EVERY_SET = pytest.mark.parametrize("values", SETS.values(), ids=SETS)


def test_the_migration_runs_first(render: Render) -> None:
    """The schema is migrated before any pod of a new version starts, and its job, if it failed, stays for its log."""
    job = render(MINIMAL).one("Job", "migration")
    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "pre-install,pre-upgrade,pre-rollback",
        "helm.sh/hook-weight": "0",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    assert (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (3, 1800)
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert render(MINIMAL).container("migration")["args"] == [migrate.name]
    assert render(ONE_POD).of_kind("Job") == []


def test_the_migration_is_of_the_pods_image(render: Render) -> None:
    """The job runs the very program that the pods will run."""
    for values in (MINIMAL, EVERYTHING):
        assert render(values).container("migration")["image"] == render(values).container()["image"]


@EVERY_SET
def test_the_migration_needs_nothing_of_the_release(render: Render, values: Values) -> None:
    """A hook is made before the rest is there: it names no ConfigMap and no ServiceAccount of the chart, nor of another hook."""
    manifests = render(values)
    later = {each["metadata"]["name"] for each in manifests.every if each["kind"] in {"ConfigMap", "ServiceAccount"}}
    for component, pod in manifests.pods():
        if component != "migration":
            continue
        assert pod["spec"].get("serviceAccountName", "default") not in later
        volumes = [volume.get("configMap", {}).get("name") for volume in pod["spec"]["volumes"]]
        assert later.isdisjoint(volumes)
        assert "GATEWAY_CONFIG" not in manifests.env(component)
    existing = {**MINIMAL, "serviceAccount": {"create": False, "name": "existing"}}
    assert render(existing).pod("migration")["spec"]["serviceAccountName"] == "existing"


def test_the_migration_has_the_database_alone(render: Render) -> None:
    """The job knows where the database is, as its owner where that is told, and whether through PgBouncer; no more."""
    assert render(MINIMAL).secrets("migration") == {"GATEWAY_DATABASE_URL": ("gateway", "database-url")}
    assert render(SEVERAL_SECRETS).secrets("migration") == {
        "GATEWAY_DATABASE_URL": ("postgres-app", "uri"),
        "GATEWAY_MIGRATE_DATABASE_URL": ("postgres-owner", "uri"),
    }
    assert set(render(MINIMAL).env("migration")) == {"GATEWAY_DATABASE_URL"}
    assert render(EVERYTHING).env("migration")["GATEWAY_STORAGE_PGBOUNCER"] == "true"
    assert "GATEWAY_MIGRATE_DATABASE_URL" not in render(SEVERAL_SECRETS).secrets()


def test_the_migration_may_be_annotated(render: Render) -> None:
    """A mesh whose side-car would keep the job from ending can be told to leave it alone."""
    assert render(EVERYTHING).pod("migration")["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}


def test_policies_of_hooks_come_before_their_pods(render: Render) -> None:
    """Where traffic is restricted, what lets a hook's pod through is made before it, for the same events, and goes with it."""
    manifests = render(EVERYTHING)
    for component, kind in (("migration", "Job"), ("test", "Pod")):
        pod = manifests.one(kind, component)["metadata"]["annotations"]
        policy = manifests.one("NetworkPolicy", component)["metadata"]["annotations"]
        assert policy["helm.sh/hook"] == pod["helm.sh/hook"]
        assert int(policy["helm.sh/hook-weight"]) < int(pod["helm.sh/hook-weight"])
        assert policy["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"


def test_helm_test_asks_the_service(render: Render) -> None:
    """`helm test` asks for `/readyz` through the service, by its name and port, with nothing but Python's own library."""
    for values in (MINIMAL, EVERYTHING, ONE_POD):
        manifests = render(values)
        pod, service = manifests.one("Pod", "test"), manifests.one("Service")
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        assert pod["spec"]["restartPolicy"] == "Never"
        python, option, script, url = manifests.container("test")["command"]
        assert (python, option) == ("python", "-c")
        assert url == f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/readyz"
        imported = {
            alias.name.partition(".")[0]
            for node in ast.walk(ast.parse(script))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert imported <= sys.stdlib_module_names


def test_helm_test_fails_where_nobody_answers(render: Render) -> None:
    """The script ends with a fault when there is no gateway."""
    *_, script, _ = render(MINIMAL).container("test")["command"]
    done = subprocess.run(
        [sys.executable, "-c", script, "http://127.0.0.1:1/readyz"], capture_output=True, timeout=30, check=False
    )
    assert done.returncode != 0
