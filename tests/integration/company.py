"""An organization of its own for each group of tests: nothing in it is seen from another one."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from scoped_secrets import names
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, Console, pod, scoped_secret, secret_policy

if TYPE_CHECKING:
    from collections.abc import Mapping


class Company:
    """An organization, its home and its projects' namespaces, whose names begin with the organization's."""

    def __init__(self, console: Console) -> None:
        """Found an organization with a home."""
        self.console = console
        self.namespaces: list[str] = []
        self.organization = f"acme-{secrets.token_hex(3)}"
        self.home = self.namespace("home")

    def namespace(
        self,
        suffix: str,
        project: str | None = None,
        environment: str | None = None,
        **annotations: str,
    ) -> str:
        """Create a namespace with a scope path; annotations are given by their names with underscores."""
        given = {
            names.ORGANIZATION_LABEL: self.organization,
            names.PROJECT_LABEL: project,
            names.ENVIRONMENT_LABEL: environment,
        }
        labels = {label: value for label, value in given.items() if value is not None}
        notes = {f"{names.GROUP}/{key.replace('_', '-')}": text for key, text in annotations.items()}
        return self._create(f"{self.organization}-{suffix}", labels, notes)

    @property
    def web(self) -> str:
        """The namespace of the project `web`, which `namespace` has created."""
        return f"{self.organization}-web"

    def outside(self) -> str:
        """Create a namespace without a scope path."""
        return self._create(f"{self.organization}-outside", {}, {})

    def settle(self, namespace: str | None = None) -> None:
        """Wait until the admission server knows all definitions and policies that have been stored so far.

        It hears of each kind in the order of storage. So it is enough that it knows one more definition, and one more
        policy, of which it tells when a pod is refused.
        """
        name = f"probe-{secrets.token_hex(4)}"
        plain = {"PROBE": {"value": "x", "sensitive": False}}
        definition = scoped_secret(f"{self.home}/{name}", "Organization", env=plain)
        self.console.apply(definition, secret_policy(f"{self.home}/{name}", name, effect="Deny"))
        probe = pod(f"{namespace or self.home}/{name}", name)
        words = (names.Reason.POLICY_DENIED, f"policy '{self.home}/{name}'")
        wait_until(lambda: self.console.is_refused(probe, *words), "admission knows what is stored", seconds=SECONDS)

    def _create(self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
        self.namespaces.append(self.console.cluster.create_namespace(name, labels, annotations))
        return name
