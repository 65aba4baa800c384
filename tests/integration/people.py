"""People at the command line: their rights, their kubeconfigs, and the program as they run it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.integration.company import Company
    from tests.integration.console import Console


NOT_TOLD = "the API server did not tell whether you may copy"
"""What admission says when it could not ask in time, on a busy machine, who may make a copy; nothing is stored then."""

# An editor, which gets a file with a value and the draft: it types the value in the place of the first one.
EDITOR = """\
import json, pathlib, sys
path = pathlib.Path(sys.argv[2])
text = path.read_text()
typed = json.dumps(pathlib.Path(sys.argv[1]).read_text())
path.write_text(text.replace("value: '# unchanged'", "value: " + typed, 1))
"""


def run(*arguments: str, kubeconfig: Path, stdin: str = "") -> CompletedProcess[str]:
    """Run our program as a person does, where there is no terminal."""
    program = [sys.executable, "-m", "scoped_secrets", *arguments, "--kubeconfig", str(kubeconfig)]
    results: list[CompletedProcess[str]] = []

    def is_answered() -> bool:
        results[:] = [
            subprocess.run(
                program, input=stdin, capture_output=True, text=True, check=False, start_new_session=True, timeout=60
            )
        ]
        return NOT_TOLD not in results[0].stderr

    wait_until(is_answered, f"admission's answer about {arguments[0]}", seconds=SECONDS)
    return results[0]


def done(*arguments: str, **given: Any) -> str:
    """Run our program, which must succeed, and return what it printed."""
    result = run(*arguments, **given)
    assert result.returncode == 0, result.stderr
    return result.stdout


def person(company: Company, name: str, role: str, *namespaces: str) -> str:
    """Give a person one of Kubernetes' own roles in namespaces, and return the user's name."""
    user = f"{name}-{company.organization}"
    for namespace in namespaces:
        company.console.cluster.kubectl(
            "create", "rolebinding", user, "-n", namespace, f"--clusterrole={role}", f"--user={user}"
        )
    return user


def kubeconfig(company: Company, user: str, namespace: str = "") -> Path:
    """Return the kubeconfig of a user, whose context has a namespace."""
    path = company.console.cluster.kubeconfig_for(user)
    if namespace:
        content = json.loads(path.read_text())
        content["contexts"][0]["context"]["namespace"] = namespace
        path.write_text(json.dumps(content))
    return path


def administrator_of(company: Company) -> Path:
    """Return the kubeconfig of a person with every right on definitions and policies of the company's namespaces.

    The person may list namespaces, pods, definitions and policies of the whole cluster.
    """
    user = person(company, "administrator", "admin", *company.namespaces)
    kubectl = company.console.cluster.kubectl
    ours = f"{names.SCOPED_SECRET_PLURAL}.{names.GROUP},{names.SECRET_POLICY_PLURAL}.{names.GROUP}"
    kubectl("create", "clusterrole", user, "--verb=get,list", f"--resource=namespaces,pods,{ours}")
    kubectl("create", "clusterrolebinding", user, f"--clusterrole={user}", f"--user={user}")
    return kubeconfig(company, user)


def wait_for_certificate(console: Console) -> None:
    """Wait until the controller has published the certificate, which the program seals with."""
    get = ("get", "configmap", names.CERTIFICATE_CONFIG_MAP, "-n", names.DEFAULT_NAMESPACE, "--ignore-not-found")
    wait_until(lambda: bool(console.cluster.kubectl(*get).stdout), "the certificate is published", seconds=SECONDS)
