"""Which values a job gets: three scopes, two projects and two environments, from kubectl to the bundle Secret.

What each job would see is worked out by the kubelet's rules from the stored pod and the stored Secrets.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.integration.console import pod, scoped_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.container_view import View

pytestmark = pytest.mark.integration

ENVIRONMENT = "environment"


@dataclass(frozen=True)
class Job:
    """A job, and what DESIGN section 4 says that it gets.

    Values are told by the label under which the canary made them.
    """

    place: str
    secrets: str | None
    env: Mapping[str, str]
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


# The bundle that is attached to every job of project web; in production a narrower definition says OnReference.
TOOLS = {"TOOL": "web tools"}

JOBS = {
    "the only definition wins in a project that has none of its own": Job(
        "api", "aws", {"REGION": "plain eu-west-1", "KEY": "organization", "SECRET": "organization secret"}
    ),
    "the project's definition replaces the organization's": Job("web", "aws", {"KEY": "web"} | TOOLS),
    "merge starts from the next wider definition": Job(
        "web", "db", {"HOST": "organization host", "PASSWORD": "web password", "PORT": "web port"} | TOOLS
    ),
    "the namespace's environment chooses its definition": Job(
        "web-production",
        "aws",
        {"KEY": "production", "ROLE": "production role"},
        {"/root/.ssh/deploy": ("production file", 0o600)},
    ),
    "the other environment has its own value": Job(
        "web", "aws", {"KEY": "staging"} | TOOLS, annotations={ENVIRONMENT: "staging"}
    ),
    "merge goes on through an environment to the organization": Job(
        "web",
        "db",
        {"HOST": "organization host", "PASSWORD": "staging password", "PORT": "web port"} | TOOLS,
        annotations={ENVIRONMENT: "staging"},
    ),
    "a pattern of environments matches": Job(
        "web", "aws", {"KEY": "reviews"} | TOOLS, annotations={ENVIRONMENT: "review/7"}
    ),
    "an exact environment is narrower than a pattern": Job(
        "web", "aws", {"KEY": "review 42"} | TOOLS, annotations={ENVIRONMENT: "review/42"}
    ),
    "an environment without a definition gets the project's": Job(
        "web", "aws", {"KEY": "web"} | TOOLS, annotations={ENVIRONMENT: "qa"}
    ),
    "a final definition cannot be shadowed": Job("web", "locked", {"LOCKED": "organization locked"} | TOOLS),
    "the home defines for one project": Job("api", "flags", {"FLAGS": "home for api"}),
    "a project does not see another one's, when it is optional": Job("api", "deploy?", {}),
    "an optional bundle that is there comes": Job("web", "deploy?, nothing?", {"DEPLOY": "web deploy"} | TOOLS),
    "an attached bundle comes without a reference": Job("web", None, TOOLS),
    "an environment with its own namespace gets nothing that the project attaches": Job("web-production", None, {}),
    "later references overwrite earlier ones": Job("web", "first, second", {"WHO": "second"} | TOOLS),
    "the order is the pod's": Job("web", "second, first", {"WHO": "first"} | TOOLS),
    "files stand at absolute, relative and home paths": Job(
        "web",
        "files",
        dict(TOOLS),
        {
            "/etc/app/absolute.conf": ("absolute file", 0o444),
            "/home/ci/relative/file": ("relative file", 0o600),
            "/home/ci/below-home": ("home file", 0o640),
        },
        annotations={"home": "/home/ci"},
    ),
}


@dataclass(frozen=True)
class Shop:
    """The organization with its definitions, after every job was created."""

    company: Company
    places: Mapping[str, str]
    views: Mapping[str, View]
    pods: Mapping[str, str]


@pytest.fixture(scope="module")
def shop(found: Founder, console: Console, canary: Canary) -> Shop:
    """All jobs at once: definitions, pods and bundles of the organization."""
    company = found()
    places = {
        "home": company.home,
        "web": company.namespace("web", "web", allow_environments="staging, qa, review/*"),
        "web-production": company.namespace("web-production", "web", "production"),
        "api": company.namespace("api", "api"),
    }
    console.apply(*definitions(places, canary))
    company.settle(places["web"])
    pods = {sentence: f"job-{index}" for index, sentence in enumerate(JOBS)}
    console.create(
        *(
            pod(f"{places[job.place]}/{pods[name]}", job.secrets, annotations=job.annotations)
            for name, job in JOBS.items()
        )
    )
    views: dict[str, View] = {}
    for place, namespace in places.items():
        here = {pods[sentence]: sentence for sentence, job in JOBS.items() if job.place == place}
        for name, containers in console.delivered(namespace, *here).items() if here else ():
            views[here[name]] = containers["job"]
    return Shop(company, places, views, pods)


def definitions(places: Mapping[str, str], canary: Canary) -> list[dict[str, object]]:
    home, web, production = places["home"], places["web"], places["web-production"]
    value = canary.value

    def environment(pattern: str, **fields: object) -> dict[str, Any]:
        return {"scope": "Environment", "environment": pattern, **fields}

    return [
        scoped_secret(
            f"{home}/aws",
            "Organization",
            env={
                "REGION": {"value": "eu-west-1", "sensitive": False},
                "KEY": value("organization"),
                "SECRET": value("organization secret"),
            },
        ),
        scoped_secret(
            f"{home}/db",
            "Organization",
            env={"HOST": value("organization host"), "PASSWORD": value("organization password")},
        ),
        scoped_secret(f"{home}/locked", "Organization", final=True, env={"LOCKED": value("organization locked")}),
        scoped_secret(f"{home}/flags", "Project", project="api", env={"FLAGS": value("home for api")}),
        scoped_secret(f"{web}/aws", env={"KEY": value("web")}),
        scoped_secret(
            f"{web}/db", override="Merge", env={"PASSWORD": value("web password"), "PORT": value("web port")}
        ),
        scoped_secret(f"{web}/locked", env={"LOCKED": value("web locked")}),
        scoped_secret(f"{web}/deploy", env={"DEPLOY": value("web deploy")}),
        scoped_secret(f"{web}/tools", attach="Always", env={"TOOL": value("web tools")}),
        scoped_secret(f"{web}/first", env={"WHO": value("first")}),
        scoped_secret(f"{web}/second", env={"WHO": value("second")}),
        scoped_secret(
            f"{web}/files",
            files={
                "/etc/app/absolute.conf": {"content": value("absolute file"), "mode": "0444"},
                "relative//file": value("relative file"),
                "~/below-home": {"content": value("home file"), "mode": "0640"},
            },
        ),
        scoped_secret(f"{web}/aws-staging", **environment("staging", secretName="aws"), env={"KEY": value("staging")}),
        scoped_secret(
            f"{web}/db-staging",
            **environment("staging", secretName="db", override="Merge"),
            env={"PASSWORD": value("staging password")},
        ),
        scoped_secret(f"{web}/aws-review", **environment("review/*", secretName="aws"), env={"KEY": value("reviews")}),
        scoped_secret(
            f"{web}/aws-review-42", **environment("review/42", secretName="aws"), env={"KEY": value("review 42")}
        ),
        scoped_secret(
            f"{production}/aws",
            **environment("production", secretName="aws"),
            env={"KEY": value("production"), "ROLE": value("production role")},
            files={".ssh/deploy": value("production file")},
        ),
        scoped_secret(f"{production}/tools", **environment("production"), env={"TOOL": value("production tools")}),
    ]


@pytest.mark.parametrize("sentence", JOBS)
def test_a_job_gets_what_resolution_says(sentence: str, shop: Shop, canary: Canary):
    job, view = JOBS[sentence], shop.views[sentence]

    def value(label: str) -> str:
        return label.removeprefix("plain ") if label.startswith("plain ") else canary.value(label)

    assert view.visible == {name: value(label) for name, label in job.env.items()}
    files = {path: text for path, text in view.files.items() if not path.startswith(names.MOUNT_PATH)}
    assert files == {path: value(label) for path, (label, _) in job.files.items()}
    assert {path: view.modes[path] for path in files} == {path: mode for path, (_, mode) in job.files.items()}


def test_pod_and_resolution_file_state_the_origin_of_every_entry(shop: Shop, console: Console):
    sentence = "merge goes on through an environment to the organization"
    web, home = shop.places["web"], shop.places["home"]

    stored = console.cluster.get("pod", shop.pods[sentence], "-n", web)
    annotation = json.loads(stored["metadata"]["annotations"][names.RESOLUTION_ANNOTATION])
    file = json.loads(shop.views[sentence].files[f"{names.MOUNT_PATH}/{names.RESOLUTION_FILE}"])

    tools, database = annotation["bundles"]
    assert (tools["name"], tools["attached"]) == ("tools", True)
    assert (database["name"], database["definition"]) == ("db", f"{web}/db-staging")
    assert [merged["definition"] for merged in database["mergedFrom"]] == [f"{web}/db", f"{home}/db"]
    assert annotation["environment"] == "staging"
    assert {key: file[key] for key in annotation} == annotation
    assert {name: origin["definition"] for name, origin in file["env"].items()} == {
        "TOOL": f"{web}/tools",
        "HOST": f"{home}/db",
        "PASSWORD": f"{web}/db-staging",
        "PORT": f"{web}/db",
    }


def test_every_variable_is_a_reference_into_the_pods_own_bundle(shop: Shop, console: Console):
    for namespace in (shop.places["web"], shop.places["web-production"], shop.places["api"]):
        for name, stored in console.items("pods", namespace).items():
            volume = next(v for v in stored["spec"]["volumes"] if v["name"] == names.VOLUME_NAME)
            own = {source["secret"]["name"] for source in volume["projected"]["sources"]}
            bundles = console.bundles(namespace)
            owners = {owner["uid"] for secret in own for owner in bundles[secret]["metadata"]["ownerReferences"]}
            variables = stored["spec"]["containers"][0].get("env", [])

            assert owners == {stored["metadata"]["uid"]}, name
            assert {variable["valueFrom"]["secretKeyRef"]["name"] for variable in variables} <= own, name


def test_blocked_definition_names_the_final_one(shop: Shop, console: Console):
    web, home = shop.places["web"], shop.places["home"]

    condition = console.wait_condition(web, "locked", "Blocked", "True")

    assert condition["reason"] == "ShadowedByFinal"
    assert f"'{home}/locked'" in condition["message"]
    assert console.conditions(console.cluster.get("ssec", "locked", "-n", home))["Blocked"]["status"] == "False"


def test_the_status_lists_what_is_shadowed_and_by_whom(shop: Shop, console: Console):
    web, home, production = (shop.places[place] for place in ("web", "home", "web-production"))
    for namespace, name in ((web, "aws"), (home, "aws"), (production, "aws")):
        console.wait_condition(namespace, name, "Ready", "True")

    narrow = console.cluster.get("ssec", "aws", "-n", production)["status"]
    middle = console.cluster.get("ssec", "aws", "-n", web)["status"]
    wide = console.cluster.get("ssec", "aws", "-n", home)["status"]

    others = [f"{production}/aws", f"{web}/aws-review", f"{web}/aws-review-42", f"{web}/aws-staging"]
    assert (narrow["shadows"], narrow.get("shadowedBy", [])) == (sorted([f"{home}/aws", f"{web}/aws"]), [])
    assert (middle["shadows"], middle["shadowedBy"]) == ([f"{home}/aws"], sorted(others))
    assert (wide.get("shadows", []), wide["shadowedBy"]) == ([], sorted([*others, f"{web}/aws"]))
    assert (narrow["envCount"], narrow["fileCount"]) == (2, 1)


def test_the_status_is_what_kubectl_shows(shop: Shop, console: Console):
    production = shop.places["web-production"]
    console.wait_condition(production, "aws", "Ready", "True")

    header, row, *_ = console.cluster.kubectl("get", "ssec", "aws", "-n", production).stdout.splitlines()

    shown = dict(zip(header.split(), row.split(), strict=True))
    shown.pop("AGE")
    assert shown == {
        "NAME": "aws",
        "SECRET": "aws",
        "SCOPE": "Environment",
        "ENVIRONMENT": "production",
        "ENV": "2",
        "FILES": "1",
        "READY": "True",
        "REASON": "Available",
    }


@pytest.mark.parametrize(
    ("place", "secrets", "annotations", "words"),
    [
        ("api", "deploy", {}, ("NotFound", "bundle 'deploy'", "project 'api'", "create a ScopedSecret")),
        ("web", "aws", {ENVIRONMENT: "production"}, ("EnvironmentNotAllowed", "allow-environments")),
        ("web-production", "aws", {ENVIRONMENT: "staging"}, ("EnvironmentNotAllowed", "remove the annotation")),
        ("web", "first, second", {"key-conflict": "Fail"}, ("KeyConflict", "variable 'WHO'", "'first' and 'second'")),
        ("web", "aws, -", {}, ("InvalidReference", "item 2")),
        ("web", "aws", {"containers": "other"}, ("InvalidAnnotation", "containers of this pod")),
        ("home", "deploy", {}, ("NotFound", "bundle 'deploy'")),
    ],
)
def test_a_job_that_cannot_have_what_it_names_is_refused_with_a_remedy(
    place: str, secrets: str, annotations: dict[str, str], words: tuple[str, ...], shop: Shop, console: Console
):
    namespace = shop.places[place]

    message = console.refusal(pod(f"{namespace}/refused", secrets, annotations=annotations))

    assert all(word in message for word in words), message
    assert not console.exists("pod", namespace, "refused")


def test_init_containers_and_expressions_get_values_without_showing_them(shop: Shop, console: Console, canary: Canary):
    web = shop.places["web"]
    containers = [
        {
            "name": "main",
            "image": "busybox",
            "command": ["sh", "-c", "deploy --key ${secrets.aws.KEY}"],
            "env": [{"name": "URL", "value": "https://user:${secrets.aws.KEY}@example.org"}],
        }
    ]
    init = [{"name": "prepare", "image": "busybox", "args": ["${secrets.deploy.DEPLOY}"]}]
    console.create(pod(f"{web}/expressions", "aws, deploy", containers=containers, initContainers=init))

    views = console.delivered(web, "expressions")["expressions"]

    key, deploy = canary.value("web"), canary.value("web deploy")
    assert views["main"].command == ("sh", "-c", f"deploy --key {key}")
    assert views["main"].env["URL"] == f"https://user:{key}@example.org"
    assert views["prepare"].args == (deploy,)
    assert views["prepare"].visible == {"KEY": key, "DEPLOY": deploy, "TOOL": canary.value("web tools")}
    assert not canary.find_in_objects([console.cluster.get("pod", "expressions", "-n", web)])


def test_a_job_larger_than_one_secret_gets_several(shop: Shop, console: Console, canary: Canary):
    web = shop.places["web"]
    size = 290 * 1024
    texts = {f"/data/large-{index}": canary.value(f"large {index}") + "x" * size for index in range(6)}
    for half in (0, 1):
        files = {path: text for index, (path, text) in enumerate(texts.items()) if index % 2 == half}
        # Too large for the annotation of client-side apply.
        console.create(scoped_secret(f"{web}/large-{half}", files=files))
    shop.company.settle(web)
    console.create(pod(f"{web}/large", "large-0, large-1"))

    view = console.seen(web, "large")

    assert {path: view.files[path] for path in texts} == texts
    stored = console.cluster.get("pod", "large", "-n", web)
    uid = stored["metadata"]["uid"]
    own = [s for s in console.bundles(web).values() if s["metadata"]["labels"][names.POD_UID_LABEL] == uid]
    assert len(own) > 1


def test_values_arrive_byte_for_byte(shop: Shop, console: Console, canary: Canary):
    web = shop.places["web"]
    binary = canary.data(4096)
    definition = scoped_secret(
        f"{web}/bytes",
        env={"AWKWARD": canary.awkward("variable"), "EMPTY": ""},
        files={
            "/data/binary": {"contentBase64": base64.b64encode(binary).decode()},
            "/data/awkward": canary.awkward("file"),
            "/data/empty": "",
        },
    )
    console.apply(definition)
    shop.company.settle(web)
    console.create(pod(f"{web}/bytes", "bytes"))

    view = console.seen(web, "bytes")

    assert view.env["AWKWARD"] == canary.awkward("variable")
    assert view.env["EMPTY"] == ""
    assert view.files["/data/binary"].encode(errors="surrogateescape") == binary
    assert view.files["/data/awkward"] == canary.awkward("file")
    assert view.files["/data/empty"] == ""
