"""``make demo``: what a person wants to see, on a cluster of its own.

It ends with 0 when everything that it shows is so, and with 1 at the first thing that is not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.cluster.control_plane import open_cluster
from tests.cluster.errors import ClusterError, NodeUnavailableError, StartError
from tests.cluster.node import Node
from tests.cluster.processes import wait_until
from tests.support.running import RunningOperator

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

EXAMPLES = Path(__file__).parent.parent / "manifests" / "examples"
JOB_SECONDS = 120.0
WIDTH = 100

# What the examples store, by job: the account in plain text, and the value that no output may show.
EXPECTED = {
    ("web", "staging"): ("web-staging", "staging-example-value"),
    ("web-production", "production"): ("web-production", "production-example-value"),
}


class DemoError(Exception):
    """Something that the demo shows is not so."""


def main() -> int:
    """Show the demo and return the exit code."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--keep", action="store_true", help="stay up at the end and print the kubeconfig")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    try:
        with ExitStack() as stack:
            show(stack, keep=arguments.keep)
    except (DemoError, ClusterError) as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    print(f"\nEverything above was checked. {time.monotonic() - began:.0f} s in all.")
    return 0


def show(stack: ExitStack, *, keep: bool) -> None:
    """Start everything and go through the scenes."""
    heading("A cluster of our own: etcd, kube-apiserver, kube-controller-manager")
    cluster = stack.enter_context(open_cluster(dict(os.environ)))
    node = _start_node(stack, cluster)
    heading("The operator: scoped-secrets run --install")
    log = Path(cluster.kubeconfig).parent / "operator.log"
    stack.enter_context(RunningOperator.start(cluster, log))
    print(log.read_text().strip().splitlines()[-1])

    heading("kubectl apply: namespaces of organization acme, definitions, a policy")
    for name in ("01-namespaces.yaml", "02-secrets.yaml", "03-policies.yaml"):
        print(cluster.kubectl("apply", "-f", str(EXAMPLES / name)).stdout.strip())
    _wait_for_status(cluster)
    print("\n" + cluster.kubectl("get", "scopedsecrets", "-A").stdout.strip())
    show_no_value(cluster)
    show_sealing_for_git(cluster)
    show_rotation(cluster)
    if node is None:
        show_specs(cluster)
    else:
        show_jobs(cluster, node)
        show_refusal(cluster, node.image)
        show_clean_up(cluster)
    if keep:
        print(f"\nexport KUBECONFIG={cluster.kubeconfig}\nEverything stays up until Ctrl-C.")
        signal.pause()


def show_no_value(cluster: Cluster) -> None:
    """Show that nobody reads a value back."""
    heading("What kubectl get shows of the definition: sealed text, no value")
    stored = cluster.kubectl("get", "scopedsecrets", "aws", "-n", "web-production", "-o", "yaml").stdout
    spec = yaml.safe_load(stored)["spec"]
    for entry in spec["env"]:
        print(f"  {entry['name']:<24}{_shortened(entry.get('sealed', ''))}")
    everything = cluster.kubectl("get", "scopedsecrets", "-A", "-o", "yaml", "--show-managed-fields").stdout
    for _, value in EXPECTED.values():
        check(value not in everything, "a definition shows a value")


def show_sealing_for_git(cluster: Cluster) -> None:
    """Show a value that is sealed without any cluster, and what a sealed text refuses to be used for."""
    heading("Sealing for Git: a value on standard input, a certificate, no cluster")
    value = "sealed-for-git-example-value"
    certificate = Path(cluster.kubeconfig).parent / "sealing.crt"
    scoped_secrets("public-key", "-o", str(certificate), "--kubeconfig", str(cluster.kubeconfig))
    place = ["--namespace", "web-production", "--name", "git", "--organization", "acme", "--project", "web"]
    place += ["--scope", "Environment", "--environment", "production", "--env-from-file", "TOKEN=-"]
    sealed = scoped_secrets("seal", *place, "--cert", str(certificate), value=value)
    print(f"$ scoped-secrets seal {' '.join(place)} --cert sealing.crt < token")
    print("\n".join(line[:WIDTH] for line in sealed.splitlines()))
    check(value not in sealed, "the file for Git shows the value")
    print(cluster.kubectl("apply", "-f", "-", input=sealed).stdout.strip())
    cluster.kubectl(
        "wait", "ssec/git", "-n", "web-production", "--for=condition=Ready", f"--timeout={JOB_SECONDS:.0f}s"
    )
    copied = sealed.replace("name: git", "name: copy")
    refused = cluster.kubectl("apply", "-f", "-", input=copied, check=False).stderr.strip()
    print(f"a copy under another name: {refused}")
    check("SealedForAnother" in refused, "a copy of a sealed text is stored")
    tested = ("verify", "aws", "AWS_SECRET_ACCESS_KEY", "-n", "web-production", "--from-file", "-")
    answer = scoped_secrets(
        *tested, "--kubeconfig", str(cluster.kubeconfig), value=EXPECTED["web-production", "production"][1]
    )
    print(f"$ scoped-secrets {' '.join(tested[:5])}\n{answer.strip()}")
    check(answer == "equal\n", "the stored value is not the one of the example")
    # What follows shows the examples only.
    cluster.kubectl("delete", "ssec/git", "-n", "web-production")


def show_rotation(cluster: Cluster) -> None:
    """Show that a new value is seen by its fingerprint only, and that an expired definition is refused."""
    heading("Rotation: a new value has another fingerprint; an expired one is for no job")
    where = ("ssec/rotated", "-n", "web-production")
    seen = []
    for number, value in enumerate(("first-example-value", "second-example-value"), 1):
        apply_rotated(cluster, value)
        cluster.kubectl("wait", *where, f"--for=jsonpath={{.status.observedGeneration}}={number}", "--timeout=30s")
        (entry,) = cluster.get(*where)["status"]["entries"]
        print("  " + "  ".join(f"{key} {text}" for key, text in entry.items()))
        seen.append(entry["fingerprint"])
        check(value not in json.dumps(cluster.get(*where)), "a definition shows a value")
    check(len(set(seen)) == len(seen), "a new value has the fingerprint of the old one")
    expires = datetime.now(UTC) + timedelta(seconds=5)
    apply_rotated(cluster, "second-example-value", expireTime=expires.isoformat())
    cluster.kubectl("wait", *where, "--for=condition=Expired", "--timeout=30s")
    print(cluster.kubectl("get", *where, "-o", "wide").stdout.strip())
    labels = {"scopedsecrets.dev/inject": "true"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "late", "labels": labels, "annotations": {"scopedsecrets.dev/secrets": "rotated"}},
        "spec": {"containers": [{"name": "job", "image": "none"}]},
    }
    asked = ("create", "-n", "web-production", "--dry-run=server", "-f", "-")
    refused = cluster.kubectl(*asked, input=json.dumps(pod), check=False).stderr.strip()
    print(f"a job that asks for it: {refused}")
    check("Expired" in refused, "a job gets an expired definition")
    # What follows shows the examples only.
    cluster.kubectl("delete", *where)


def apply_rotated(cluster: Cluster, value: str, **fields: Any) -> None:
    """Store a value that is to be replaced every 90 days."""
    spec = {"scope": "Environment", "environment": "production", "rotation": {"intervalDays": 90}, **fields}
    document = {
        "apiVersion": "scopedsecrets.dev/v1alpha1",
        "kind": "ScopedSecret",
        "metadata": {"name": "rotated", "namespace": "web-production"},
        "spec": {**spec, "env": [{"name": "TOKEN", "value": value}]},
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(document))


def scoped_secrets(*arguments: str, value: str = "") -> str:
    """Run our own program with a value as its standard input, and return what it prints."""
    program = [sys.executable, "-m", "scoped_secrets", *arguments]
    result = subprocess.run(program, input=value, capture_output=True, text=True, check=False)
    check(result.returncode == 0, f"scoped-secrets {arguments[0]}: {result.stderr.strip()}")
    return result.stdout


def show_jobs(cluster: Cluster, node: Node) -> None:
    """Run the example jobs and show what their containers say."""
    heading("Jobs start, and find their variables and files")
    apply_jobs(cluster, "04-jobs.yaml", node.image)
    for (namespace, name), (account, value) in EXPECTED.items():
        wait_until(lambda: _is_complete(cluster, namespace, name), f"job {name} to complete", seconds=JOB_SECONDS)  # noqa: B023 - called before the loop goes on
        output = cluster.kubectl("logs", f"job/{name}", "-n", namespace).stdout
        lines = dict(line.split(maxsplit=1) for line in output.splitlines() if " " in line)
        resolution = json.loads(lines["resolution"])
        print(f"\n--- job {namespace}/{name}")
        print("\n".join(f"  {line}" for line in output.splitlines() if not line.startswith("resolution")))
        show_resolution(resolution)
        check(lines["account"] == account, f"job {name} has another account than its environment's")
        check(
            lines["value"].startswith(hashlib.sha256(value.encode()).hexdigest()[:12]), f"job {name} has another value"
        )
        check(lines["region"] == "eu-west-1", f"job {name} lacks what it merges from the organization")
        check("/root/.docker/config.json" in output, f"job {name} lacks its file")


def show_resolution(resolution: dict[str, Any]) -> None:
    """Show where each variable and file came from."""
    print("  where it came from:")
    for name, origin in resolution["env"].items():
        print(f"    {name:<28}{origin['definition']}")
    for path, origin in resolution["files"]["main"].items():
        print(f"    {path:<28}{origin['definition']}  mode {origin['mode']}")


def show_refusal(cluster: Cluster, image: str) -> None:
    """Show that a job without the right is refused, with the reason."""
    heading("A job without the deployer's account is refused")
    apply_jobs(cluster, "05-refused.yaml", image)
    selector = ("-n", "web-production", "--field-selector", "reason=FailedCreate,involvedObject.name=intruder")
    wait_until(lambda: bool(cluster.get("events", *selector)["items"]), "the refusal", seconds=JOB_SECONDS)
    message = cluster.get("events", *selector)["items"][0]["message"]
    print("  " + message)
    check("PolicyDenied" in message and "acme/production" in message, "the refusal does not name its policy")
    pods = cluster.get("pods", "-n", "web-production", "-l", "batch.kubernetes.io/job-name=intruder")["items"]
    check(not pods, "the refused job has a pod")


def show_clean_up(cluster: Cluster) -> None:
    """Show that nothing is left of the finished jobs' values."""
    heading("The jobs are done, and their Secrets are gone")
    wait_until(lambda: not bundle_secrets(cluster), "the bundle Secrets to go", seconds=JOB_SECONDS)
    print("  no Secret ssec-* in any namespace")


def show_specs(cluster: Cluster) -> None:
    """Show the pods and their bundles where nothing can run them."""
    heading("Without a node: what the pods' specs and bundles hold")
    apply_jobs(cluster, "04-jobs.yaml", "busybox:1.37")
    for (namespace, name), (account, value) in EXPECTED.items():
        selector = ("-n", namespace, "-l", f"batch.kubernetes.io/job-name={name}")
        wait_until(lambda: bool(cluster.get("pods", *selector)["items"]), f"the pod of {name}", seconds=JOB_SECONDS)  # noqa: B023 - called before the loop goes on
        pod = cluster.get("pods", *selector)["items"][0]
        print(f"\n--- pod {namespace}/{pod['metadata']['name']}")
        print(yaml.safe_dump({"env": pod["spec"]["containers"][0]["env"]}, sort_keys=False).rstrip())
        secret = pod["spec"]["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["name"]
        wait_until(lambda: secret in bundle_secrets(cluster), f"the bundle of {name}", seconds=JOB_SECONDS)  # noqa: B023 - as above
        check(value not in json.dumps(pod), "a pod's spec shows a value")
        described = cluster.kubectl("describe", "secret", secret, "-n", namespace).stdout
        print(described.rstrip())
        check("aws.AWS_ACCESS_KEY_ID" in described, f"the bundle of {name} lacks the account {account}")
    show_refusal(cluster, "busybox:1.37")


def apply_jobs(cluster: Cluster, name: str, image: str) -> None:
    """Apply example Jobs with an image that the node has and, as it has no pod network, the host's network."""
    documents = list(yaml.safe_load_all((EXAMPLES / name).read_text()))
    for document in documents:
        pod = document["spec"]["template"]["spec"]
        pod["hostNetwork"] = True
        for container in pod["containers"]:
            container |= {"image": image, "imagePullPolicy": "Never"}
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(documents))


def bundle_secrets(cluster: Cluster) -> list[str]:
    """Return the names of all bundle Secrets."""
    listed = cluster.kubectl("get", "secrets", "-A", "-o", "jsonpath={.items[*].metadata.name}").stdout.split()
    return [name for name in listed if name.startswith("ssec-")]


def check(holds: bool, failure: str) -> None:
    """Stop the demo unless something holds."""
    if not holds:
        raise DemoError(failure)


def heading(text: str) -> None:
    """Print the title of a scene."""
    print(f"\n{text}\n{'-' * min(len(text), WIDTH)}", flush=True)


def _start_node(stack: ExitStack, cluster: Cluster) -> Node | None:
    heading("A node: containerd, runc, kubelet, kube-scheduler")
    try:
        node = stack.enter_context(Node.start(cluster, dict(os.environ)))
    except NodeUnavailableError as reason:
        print(f"No node here: {reason}\nWhat follows ends with the pods' specs and bundles.")
        return None
    print(cluster.kubectl("get", "nodes").stdout.strip())
    return node


def _wait_for_status(cluster: Cluster) -> None:
    def all_ready() -> bool:
        conditions = "{range .items[*]}{.status.conditions[?(@.type=='Ready')].status} {end}"
        listed = cluster.kubectl("get", "scopedsecrets", "-A", "-o", f"jsonpath={conditions}").stdout.split()
        return listed.count("True") == len(list(yaml.safe_load_all((EXAMPLES / "02-secrets.yaml").read_text())))

    wait_until(all_ready, "all definitions to be Ready", seconds=JOB_SECONDS)


def _is_complete(cluster: Cluster, namespace: str, name: str) -> bool:
    status = cluster.get("job", name, "-n", namespace).get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "Failed" and condition["status"] == "True":
            raise StartError(f"job {namespace}/{name} failed: {condition.get('message')}")
        if condition["type"] == "Complete" and condition["status"] == "True":
            return True
    return False


def _shortened(text: str) -> str:
    return f"{text[:24]}… ({len(text)} characters)" if text else "(plain)"


if __name__ == "__main__":
    sys.exit(main())
