"""Testing a stored value: what goes wrong before a cluster is asked; the rest needs one and is tested there."""

import subprocess
import sys

import pytest

CANARY = "canary-0c11d7"


def verify(*arguments, kubeconfig):
    program = [sys.executable, "-m", "scoped_secrets", "verify", *arguments, "--kubeconfig", str(kubeconfig)]
    return subprocess.run(
        program, input=CANARY, capture_output=True, text=True, check=False, start_new_session=True, timeout=60
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("aws",), "give either KEY, the name of a variable, or --file"),
        (("aws", "A", "--file", "a"), "give either KEY, the name of a variable, or --file"),
        (("aws", f"A={CANARY}"), "KEY must be the name of a variable; the command prompts for the value"),
        (("aws", "A"), "does not exist"),
        (("aws", "A", "-n", "web"), "does not exist"),
    ],
)
def test_usage_error_is_one_line_with_exit_code_2(arguments, words, tmp_path):
    result = verify(*arguments, kubeconfig=tmp_path / "none")

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert CANARY not in result.stderr


def test_unreachable_api_server_is_a_one_line_failure(tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "contexts: [{name: c, context: {cluster: c, user: u, namespace: web}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n"
    )

    result = verify("aws", "A", kubeconfig=kubeconfig)

    assert (result.returncode, result.stdout) == (2, "")
    # The namespace is the one of the kubeconfig's context.
    assert "/namespaces/web/scopedsecrets/aws: the API server does not answer" in result.stderr
    assert result.stderr.count("\n") == 1
