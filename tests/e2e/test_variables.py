"""Variables arrive byte for byte, wherever a pod may name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.lab import definition, pod_run
from tests.e2e.probe import RESOLUTION_PATH, SCRIPT, Probe

if TYPE_CHECKING:
    from tests.e2e.lab import Lab, Run

pytestmark = pytest.mark.e2e

# The most that one variable holds (DESIGN section 5).
LARGEST = 32 * 1024


@pytest.fixture(scope="module")
def values(lab: Lab) -> dict[str, str]:
    """Values that a shell, the kubelet or YAML would change if anybody let them."""
    lines = "first line\n\n  third line\twith a tab\r\nlast line\n"
    specials = "$(TOKEN) ${TOKEN} $TOKEN $$(TOKEN) ${secrets.app.TOKEN} \"double\" 'single' `back` \\n \\ {{x}} # *\n"
    largest = lab.value()
    return {
        "TOKEN": lab.value(),
        "OTHER": lab.value(),
        "EMPTY": "",
        "SEVERAL_LINES": lab.value(lines) + "\n\n",
        "UNICODE": lab.value("žluťoučký kůň 日本語 🔑 \u200b\u00a0") + "ñ",
        "SPECIALS": lab.value(specials) + " ",
        "LARGEST": largest + "x" * (LARGEST - len(largest)),
    }


@pytest.fixture(scope="module")
def runs(lab: Lab, values: dict[str, str]) -> dict[str, Run]:
    """One pod for each way to use variables, all started at once."""
    namespace = lab.organization().namespace("web")
    lab.define(definition(namespace, "app", env=values))
    token, specials = values["TOKEN"], values["SPECIALS"]

    everything = Probe()
    for name, value in values.items():
        everything.variable(name, value)
    in_init = Probe().variable("TOKEN", token).variable("SEVERAL_LINES", values["SEVERAL_LINES"])
    expansion = (
        Probe()
        .argument("whole", "$(TOKEN)", token)
        .argument("within", "a=$(TOKEN)&b=$(OTHER)", f"a={token}&b={values['OTHER']}")
        .argument("specials", "$(SPECIALS)", specials)
        .argument("escaped", "$$(TOKEN)", "$(TOKEN)")
        .zero(f"zero {token}")
        .variable("URL", f"https://user:{token}@example.com/")
    )
    expressions = (
        Probe()
        .argument("whole", "${secrets.app.TOKEN}", token)
        .argument("within", "a=${secrets.app.TOKEN}&b=${secrets.app.OTHER}", f"a={token}&b={values['OTHER']}")
        .argument("specials", "${secrets.app.SPECIALS}", specials)
        .argument("empty", "[${secrets.app.EMPTY}]", "[]")
        .zero(f"zero {token}")
        .variable("URL", f"https://user:{token}@example.com/{specials}")
        .variable("TOKEN", token)
    )
    own = Probe().variable("TOKEN", "the container's own").variable("OTHER", values["OTHER"]).document()
    left_out = Probe().no_variable("TOKEN").no_file(RESOLUTION_PATH)

    runs = {
        "everything": pod_run(namespace, "everything", "app", everything),
        "init": pod_run(
            namespace,
            "init",
            "app",
            Probe().variable("TOKEN", token),
            containers={"init": (in_init, {})},
        ),
        "expansion": pod_run(
            namespace,
            "expansion",
            "app",
            expansion,
            main={
                "command": ["sh", "-c", SCRIPT, "zero $(TOKEN)"],
                "env": [{"name": "URL", "value": "https://user:$(TOKEN)@example.com/"}],
            },
        ),
        "expressions": pod_run(
            namespace,
            "expressions",
            "app",
            expressions,
            main={
                "command": ["sh", "-c", SCRIPT, "zero ${secrets.app.TOKEN}"],
                "env": [
                    {"name": "URL", "value": "https://user:${secrets.app.TOKEN}@example.com/${secrets.app.SPECIALS}"}
                ],
            },
        ),
        "own": pod_run(namespace, "own", "app", own, main={"env": [{"name": "TOKEN", "value": "the container's own"}]}),
        "chosen": pod_run(
            namespace,
            "chosen",
            "app",
            Probe().variable("TOKEN", token),
            containers={"other": (left_out, {})},
            annotations={"containers": "main"},
        ),
    }
    lab.start(*runs.values())
    return runs


def test_values_arrive_byte_for_byte(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["everything"])


def test_init_containers_get_variables_too(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["init"])


def test_the_kubelet_expands_variables_in_command_arguments_and_variables(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["expansion"])


def test_expressions_are_values_to_the_process_and_names_in_the_spec(
    lab: Lab, runs: dict[str, Run], values: dict[str, str]
):
    lab.finish(runs["expressions"])

    spec = str(lab.pod(runs["expressions"])["spec"])
    assert "${secrets." not in spec
    assert lab.canary.mark not in spec


def test_the_container_s_own_variable_wins_and_is_reported(lab: Lab, runs: dict[str, Run]):
    resolution = lab.finish(runs["own"])[RESOLUTION_PATH]

    assert resolution["kept"] == {"main": ["TOKEN"]}


def test_a_container_that_is_not_listed_gets_nothing(lab: Lab, runs: dict[str, Run]):
    lab.finish(runs["chosen"])


def test_names_that_ci_systems_use_arrive_and_a_reserved_one_can_be_set_by_the_container(lab: Lab):
    namespace = lab.organization().namespace("web")
    values = {name: lab.value() for name in ("ENV", "LD_ACCESS_TOKEN", "KUBERNETES_NAMESPACE_OVERWRITE", "FIELDS")}
    lab.define(definition(namespace, "ci", env=values))
    probe = Probe().variable("ENV", values["ENV"]).variable("LD_ACCESS_TOKEN", values["LD_ACCESS_TOKEN"])
    probe.variable("KUBERNETES_NAMESPACE_OVERWRITE", values["KUBERNETES_NAMESPACE_OVERWRITE"])
    # As the denial of a reserved name says: under another name, and by the container's own variable.
    probe.variable("PROMPT_COMMAND", values["FIELDS"])
    own = {"env": [{"name": "PROMPT_COMMAND", "value": "${secrets.ci.FIELDS}"}]}
    run = pod_run(namespace, "names", "ci", probe, main=own)
    lab.start(run)

    lab.finish(run)
