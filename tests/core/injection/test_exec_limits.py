"""How much environment a container may have (DESIGN section 5)."""

from typing import Any

import pytest
from tests.support.builders import container, definition, denied, granted, home_and_project, inventory, pod_body, sealed

from scoped_secrets.core.cluster_snapshot import ClusterSnapshot
from scoped_secrets.core.injection.exec_limits import MAX_EXEC_BYTES, MAX_STRING_BYTES
from scoped_secrets.core.resolution.definitions import SecretKeySource
from scoped_secrets.names import Reason

LARGE = 32_700


def world(**env: Any) -> ClusterSnapshot:
    return inventory(home_and_project(), [definition("acme/aws", env=env)])


def variables(count: int, source: Any = "x" * LARGE) -> ClusterSnapshot:
    return world(**{f"V{index:02}": source for index in range(count)})


def body(**fields: Any) -> dict[str, Any]:
    return pod_body("aws", containers=[container(**fields)])


def assert_denied(pod: dict[str, Any], snapshot: ClusterSnapshot, *, limit: int) -> None:
    refused = denied(pod, snapshot)
    assert refused.reason is Reason.LIMIT_EXCEEDED
    assert "'job'" in refused.message
    assert str(limit) in refused.message


def test_more_variables_than_linux_accepts_are_denied():
    granted(body(), variables(64))
    assert_denied(body(), variables(65), limit=MAX_EXEC_BYTES)
    assert_denied(body(), variables(78, sealed("", 32_704)), limit=MAX_EXEC_BYTES)


def test_what_the_pod_has_counts_too():
    own = [{"name": f"O{index}", "value": "x" * 100_000} for index in range(2)]
    granted(body(env=own[:1]), variables(60))
    assert_denied(body(env=own), variables(60), limit=MAX_EXEC_BYTES)
    assert_denied(body(args=["x" * 100_000, "x" * 100_000]), variables(60), limit=MAX_EXEC_BYTES)
    assert_denied(body(command=["x" * 100_000, "x" * 100_000]), variables(60), limit=MAX_EXEC_BYTES)


def test_each_container_counts_alone():
    containers = [container("a", env=[{"name": "O", "value": "x" * 100_000}]), container("b")]
    granted(pod_body("aws", containers=containers), variables(60))


@pytest.mark.parametrize(
    "fields",
    [
        {"args": ["$(A)$(A)$(A)$(A)$(A)"]},
        {"command": ["sh", "${secrets.aws.A}${secrets.aws.A}${secrets.aws.A}${secrets.aws.A}${secrets.aws.A}"]},
        {"env": [{"name": "O", "value": "$(A)$(A)$(A)$(A)$(A)"}]},
        {"env": [{"name": "B", "value": "$(A)$(A)$(A)"}, {"name": "C", "value": "$(B)$(B)"}]},
        {"env": [{"name": "O", "value": "x" * MAX_STRING_BYTES}]},
    ],
)
def test_one_string_that_is_too_long_after_expansion_is_denied(fields):
    assert_denied(body(**fields), world(A="x" * LARGE), limit=MAX_STRING_BYTES)


@pytest.mark.parametrize(
    "text", ["$$(A)$$(A)$$(A)$$(A)$$(A)", "$(B)$(B)$(B)$(B)$(B)", "$A$A$A$A$A", "$(A)$(A)$(A)$(A)", "$(", "$"]
)
def test_text_that_does_not_expand_is_as_long_as_it_is(text):
    granted(body(args=[text], env=[{"name": "O", "value": text}]), world(A="x" * LARGE))


def test_the_longest_string_is_allowed():
    name = "NAME"
    granted(body(env=[{"name": name, "value": "x" * (MAX_STRING_BYTES - len(name) - 2)}]), world(A="a"))
    assert_denied(
        body(env=[{"name": name, "value": "x" * (MAX_STRING_BYTES - len(name) - 1)}]), world(A="a"), limit=131_072
    )


def test_values_of_unknown_size_are_not_counted():
    granted(body(), variables(78, SecretKeySource("s", "k")))


def test_windows_has_other_limits():
    granted(pod_body("aws", os={"name": "windows"}), variables(78))
