"""Files arrive byte for byte at their places, with their modes, beside what the image has there.

Owners and modes are those of ``core.injection.file_modes``: a file belongs to root. Root sees the mode of its
definition, and another user a copy that it can read. With the pod's own ``fsGroup`` the file belongs to that group,
which may then read it.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from scoped_secrets import names
from tests.cluster.node_image import CI_USER, FILES
from tests.e2e.lab import definition, file, pod_run
from tests.e2e.probe import RESOLUTION_PATH, Probe

if TYPE_CHECKING:
    from tests.e2e.lab import Lab, Run

pytestmark = pytest.mark.e2e

GROUP = 2000
CI_HOME = "/home/ci"
EXISTING = "/etc/app/existing.conf"
TOOL = "#!/bin/sh\necho ran\n"


class Contents:
    """What the files of the tests hold."""

    def __init__(self, lab: Lab) -> None:
        """Make new values."""
        key = Ed25519PrivateKey.generate()
        self.private_key = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
        self.public_key = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        self.absolute = lab.value("absolute\n") + "\n"
        self.relative = lab.value("žluťoučký kůň\r\n")
        self.binary = lab.value().encode() + b"\0\xff\xfe\r\n" + secrets.token_bytes(2000) + b"\n\n"
        self.public = lab.value("for everybody\n")
        self.replaced = lab.value("in place of the image's file\n")


@pytest.fixture(scope="module")
def contents(lab: Lab) -> Contents:
    return Contents(lab)


@pytest.fixture(scope="module")
def runs(lab: Lab, contents: Contents) -> dict[str, Run]:
    """One pod for each way to run, all started at once."""
    namespace = lab.organization().namespace("web")
    lab.define(
        definition(
            namespace,
            "app",
            files=[
                file("/etc/app/injected.conf", contents.absolute),
                file(".config/app/settings", contents.relative, "0640"),
                file("~/.ssh/id_ed25519", contents.private_key, "0600"),
                file("/opt/new/folder/blob.bin", contents.binary, "0400"),
                file("/opt/new/tool", TOOL, "0755"),
                file("/opt/new/empty", ""),
            ],
        ),
        definition(namespace, "home", files=[file("~/.netrc", contents.absolute)]),
        definition(namespace, "public", files=[file("/opt/public", contents.public, "0644")]),
        definition(namespace, "replaces", files=[file(EXISTING, contents.replaced)]),
        definition(namespace, "mounted", files=[file("/work/config/app.ini", contents.absolute)]),
    )
    ci = {"runAsUser": CI_USER, "runAsNonRoot": True}
    ci_home = {"home": CI_HOME}
    read_only = {"securityContext": {"readOnlyRootFilesystem": True}}

    def own(name: str, probe: Probe, **fields: Any) -> Run:
        return pod_run(namespace, name, "app", probe, **fields)

    runs = [
        own("root", everything(contents, "/root", {}, "0:0")),
        own(
            "read-only",
            everything(contents, "/root", {}, "0:0").write("/etc/app/new", is_allowed=False),
            main=read_only,
        ),
        own(
            "group",
            everything(contents, CI_HOME, READABLE_BY_GROUP, f"0:{GROUP}"),
            annotations=ci_home,
            securityContext={**ci, "fsGroup": GROUP},
        ),
        own(
            "user",
            everything(contents, CI_HOME, READABLE_BY_ALL, "0:0").write("/opt/new/tool", is_allowed=False),
            annotations=ci_home,
            securityContext=ci,
        ),
        own(
            "user-read-only",
            everything(contents, CI_HOME, READABLE_BY_ALL, "0:0"),
            main={"securityContext": {"readOnlyRootFilesystem": True, "runAsUser": CI_USER}},
            annotations=ci_home,
        ),
        pod_run(namespace, "public", "public", Probe().file("/opt/public", contents.public, "644"), securityContext=ci),
        pod_run(
            namespace,
            "homes",
            "home",
            Probe().file("/root/.netrc", contents.absolute, "600").no_file("/srv/other/.netrc"),
            containers={
                "other": (
                    Probe().file("/srv/other/.netrc", contents.absolute, "600").no_file("/root/.netrc"),
                    {"env": [{"name": "HOME", "value": "/srv/other"}]},
                ),
                "init": (
                    Probe().file("/srv/init/.netrc", contents.absolute, "600").no_file("/root/.netrc"),
                    {"env": [{"name": "HOME", "value": "/srv/init/"}]},
                ),
            },
        ),
        pod_run(
            namespace,
            "replaces",
            "replaces",
            Probe().file(EXISTING, contents.replaced, "600").folder("/etc/app", "existing.conf"),
        ),
        pod_run(
            namespace,
            "mounted",
            "mounted",
            Probe()
            .file("/work/config/app.ini", contents.absolute, "600")
            .folder("/work", "config")
            .write("/work/beside", is_allowed=True),
            main={"volumeMounts": [{"name": "work", "mountPath": "/work"}]},
            volumes=[{"name": "work", "emptyDir": {}}],
        ),
    ]
    lab.start(*runs)
    return {run.name: run for run in runs}


# What the kubelet adds to modes for the group of the files: the right to read.
READABLE_BY_GROUP = {"600": "640", "400": "440"}
# What the copies for users other than root have.
READABLE_BY_ALL = {"600": "644", "640": "644", "400": "444"}


def everything(contents: Contents, home: str, widened: dict[str, str], owner: str) -> Probe:
    """Expect all files of bundle ``app``, beside what the image has."""

    def mode(defined: str) -> str:
        return widened.get(defined, defined)

    return (
        Probe()
        .file("/etc/app/injected.conf", contents.absolute, mode("600"), owner)
        .file(f"{home}/.config/app/settings", contents.relative, mode("640"), owner)
        .file(f"{home}/.ssh/id_ed25519", contents.private_key, mode("600"), owner)
        .file("/opt/new/folder/blob.bin", contents.binary, mode("400"), owner)
        .file("/opt/new/tool", TOOL, mode("755"), owner)
        .file("/opt/new/empty", "", mode("600"), owner)
        .run("/opt/new/tool", "ran")
        .public_key(f"{home}/.ssh/id_ed25519", contents.public_key)
        .file(EXISTING, FILES["etc/app/existing.conf"], "644")
        .folder("/etc/app", "existing.conf", "injected.conf")
        .document()
    )


def test_root_finds_every_file_with_its_own_mode(lab: Lab, runs: dict[str, Run]):
    resolution = lab.finish(runs["root"])[RESOLUTION_PATH]

    modes = {path: origin["mode"] for path, origin in resolution["files"]["main"].items()}
    assert modes == {
        "/etc/app/injected.conf": "0600",
        "/root/.config/app/settings": "0640",
        "/root/.ssh/id_ed25519": "0600",
        "/opt/new/folder/blob.bin": "0400",
        "/opt/new/tool": "0755",
        "/opt/new/empty": "0600",
    }


def test_files_come_into_a_read_only_root_file_system(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["read-only"])


def test_user_with_a_group_reads_every_file_through_the_group(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["group"])


@pytest.mark.parametrize("name", ["user", "user-read-only"])
def test_user_without_a_group_reads_every_file_as_a_copy(lab: Lab, runs: dict[str, Run], name: str):
    resolution = lab.finish(runs[name])[RESOLUTION_PATH]

    assert resolution["files"]["main"][f"{CI_HOME}/.ssh/id_ed25519"]["mode"] == "0644"
    assert "fsGroup" not in lab.pod(runs[name])["spec"]["securityContext"]


def test_world_readable_files_are_the_same_for_all(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["public"])


def test_each_container_finds_the_file_in_its_own_home(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["homes"])


def test_injected_file_hides_only_the_image_file_at_its_path(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["replaces"])


def test_file_can_be_placed_in_a_volume_of_the_pod(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["mounted"])


@pytest.mark.parametrize("target", ["/etc", "../etc"], ids=["absolute", "relative"])
def test_a_symlink_on_the_path_of_a_file_leads_nowhere_outside_of_the_container(target: str, lab: Lab):
    namespace = lab.organization().namespace("web")
    name = f"linked-{lab.canary.mark[:6]}-{len(target)}"
    key = lab.value()
    lab.define(definition(namespace, "linked", files=[file(f"/work/link/{name}", key)]))
    probe = Probe().file(f"/work/link/{name}", key, "600").file(f"/etc/{name}", key, "600")
    work = {"name": "work", "mountPath": "/work"}
    run = pod_run(namespace, "linked", "linked", probe, main={"volumeMounts": [work]})
    image = run.pod_body["spec"]["containers"][0]["image"]
    link = {"name": "link", "image": image, "command": ["ln", "-s", target, "/work/link"], "volumeMounts": [work]}
    # The container that makes the link gets no file, whose mount would make the folder first.
    run.pod_body["metadata"]["annotations"][names.CONTAINERS_ANNOTATION] = "main"
    run.pod_body["spec"] |= {"initContainers": [link], "volumes": [{"name": "work", "emptyDir": {}}]}

    lab.start(run)

    lab.finish(run)
    assert not Path(f"/etc/{name}").exists()
