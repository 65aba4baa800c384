"""The proxy of the environment is the one that kubectl takes, which is a program in Go."""

from __future__ import annotations

import pytest

from scoped_secrets.kube.proxies import environment_proxy, unsupported_proxy

PROXY = "http://proxy.example:3128"
NAMED = "https://api.corp.example:6443"
ADDRESSED = "https://10.20.30.40:6443"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)


@pytest.mark.parametrize(
    ("entries", "server", "is_used"),
    [
        # Domains: a name is one of its own and of those below it, a leading dot leaves out the name itself.
        ("", NAMED, True),
        (" , ,", NAMED, True),
        ("api.corp.example", NAMED, False),
        ("corp.example", NAMED, False),
        (".corp.example", NAMED, False),
        ("*.corp.example", NAMED, False),
        ("other.example, CORP.example ", NAMED, False),
        ("corp.example", "https://CORP.example", False),
        (".corp.example", "https://corp.example", True),
        ("*.corp.example", "https://corp.example", True),
        ("orp.example", NAMED, True),
        ("*orp.example", NAMED, True),
        ("api.corp.example.other", NAMED, True),
        # Ports: those of the scheme, where the server has none.
        ("api.corp.example:6443", NAMED, False),
        (".corp.example:6443", NAMED, False),
        ("api.corp.example:443", NAMED, True),
        ("api.corp.example:443", "https://api.corp.example", False),
        ("api.corp.example:443", "https://api.corp.example/prefix:6443", False),
        (":6443", NAMED, True),
        ("10.20.30.40:6443", ADDRESSED, False),
        ("10.20.30.40:443", ADDRESSED, True),
        ("[fd00::1]:6443", "https://[fd00::1]:6443", False),
        ("[fd00::1]:443", "https://[fd00::1]:6443", True),
        ("[fd00::1]:443", "https://[fd00::1]", False),
        # Addresses and prefixes.
        ("10.20.30.40", ADDRESSED, False),
        ("30.40", ADDRESSED, True),
        (".40", ADDRESSED, True),
        ("10.0.0.0/8", ADDRESSED, False),
        ("10.20.30.99/24", ADDRESSED, False),
        ("192.168.0.0/16,10.20.0.0/16", ADDRESSED, False),
        ("192.168.0.0/16", ADDRESSED, True),
        ("0.0.0.0/0", ADDRESSED, False),
        ("0.0.0.0/0", NAMED, True),
        ("10.0.0.0/33", ADDRESSED, True),
        ("10.0.0.0/255.0.0.0", ADDRESSED, True),
        ("10.0.0.0/8:6443", ADDRESSED, True),
        ("fd00::1", "https://[fd00::1]:6443", False),
        ("fd00:0::1", "https://[fd00::1]:6443", False),
        ("fd00::/8", "https://[fd00::1]:6443", False),
        ("10.0.0.0/8", "https://[fd00::1]:6443", True),
        ("10.0.0.0/8", "https://[::ffff:10.20.30.40]:6443", False),
        # Everything.
        ("*", NAMED, False),
        ("other.example,*", ADDRESSED, False),
        # This machine, for which the environment names no proxy.
        ("", "https://localhost:6443", False),
        ("", "https://127.0.0.1:6443", False),
        ("", "https://127.8.9.10:6443", False),
        ("", "https://[::1]:6443", False),
        ("", "https://localhost.example:6443", True),
    ],
)
def test_no_proxy_names_the_same_servers_as_in_kubectl(
    monkeypatch: pytest.MonkeyPatch, entries: str, server: str, is_used: bool
):
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", entries)

    assert environment_proxy(server) == (PROXY if is_used else None)


@pytest.mark.parametrize(
    ("environment", "server", "expected"),
    [
        ({"HTTPS_PROXY": "proxy.corp:3128"}, NAMED, "http://proxy.corp:3128"),
        ({"HTTPS_PROXY": "10.1.2.3:3128"}, NAMED, "http://10.1.2.3:3128"),
        ({"HTTPS_PROXY": "proxy"}, NAMED, "http://proxy"),
        ({"HTTPS_PROXY": "who:word@proxy.corp:3128"}, NAMED, "http://who:word@proxy.corp:3128"),
        ({"HTTPS_PROXY": "https://proxy.corp"}, NAMED, "https://proxy.corp"),
        ({"HTTPS_PROXY": "socks5://proxy.corp"}, NAMED, "socks5://proxy.corp"),
        ({"HTTPS_PROXY": "http://upper", "https_proxy": "http://lower"}, NAMED, "http://upper"),
        ({"HTTPS_PROXY": "", "https_proxy": "http://lower"}, NAMED, "http://lower"),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "corp.example"}, NAMED, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "other", "no_proxy": "corp.example"}, NAMED, PROXY),
        ({"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, NAMED, None),
        ({"HTTPS_PROXY": PROXY}, "http://api.corp.example", None),
        ({"HTTP_PROXY": PROXY}, "http://api.corp.example", PROXY),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "api.corp.example:80"}, "http://api.corp.example", None),
        # In a CGI program, HTTP_PROXY is a header of the request.
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "http://api.corp.example", None),
        ({"HTTPS_PROXY": PROXY, "REQUEST_METHOD": "GET"}, NAMED, PROXY),
    ],
)
def test_the_variable_of_the_servers_scheme_names_the_proxy(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], server: str, expected: str | None
):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)

    assert environment_proxy(server) == expected


@pytest.mark.parametrize("proxy", [None, "", PROXY, "HTTP://proxy", "https://who:word@proxy:3128", "http://[fd00::1]"])
def test_a_proxy_that_speaks_http_is_supported(proxy: str | None):
    assert unsupported_proxy(proxy) is None


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://who:word@proxy:1080",
        "proxy.corp:3128",
        "10.1.2.3:3128",
        "//proxy",
        "http://",
        "http://proxy:port",
        "http://[word",
    ],
)
def test_the_message_about_another_proxy_names_where_it_may_be_set_and_not_its_credentials(proxy: str):
    message = unsupported_proxy(proxy)

    assert message is not None
    for source in ("`proxy-url` of the kubeconfig", "HTTPS_PROXY", "HTTP_PROXY"):
        assert source in message
    assert "word" not in message
