"""Where a definition goes: from what a person states and the labels of namespaces."""

import pytest

from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.errors import ConfigurationError, DeniedError
from scoped_secrets.operations.place import PlaceRequest, choose_place, object_name

HOME = Binding("acme", "acme")
WEB = Binding("web", "acme", "web")
PRODUCTION = Binding("web-production", "acme", "web", "production")
API_STAGING = Binding("api-staging", "acme", "api", "staging")
OTHER_HOME = Binding("umbrella", "umbrella")
ALL = (HOME, WEB, PRODUCTION, API_STAGING)


def chosen(*bindings, **stated):
    place = choose_place(PlaceRequest(**stated), bindings or ALL)
    return place.namespace, place.scope, place.project, place.environment


@pytest.mark.parametrize(
    ("stated", "place"),
    [
        ({}, ("acme", Scope.ORGANIZATION, None, None)),
        ({"project": "web"}, ("web", Scope.PROJECT, "web", None)),
        ({"project": "web", "environment": "production"}, ("web-production", Scope.ENVIRONMENT, "web", "production")),
        ({"project": "web", "environment": "review/*"}, ("web", Scope.ENVIRONMENT, "web", "review/*")),
        # A project with namespaces of environments only: its own definitions are in the home.
        ({"project": "api"}, ("acme", Scope.PROJECT, "api", None)),
        ({"namespace": "web"}, ("web", Scope.PROJECT, "web", None)),
        ({"namespace": "web-production"}, ("web-production", Scope.ENVIRONMENT, "web", "production")),
        ({"namespace": "web", "environment": "test"}, ("web", Scope.ENVIRONMENT, "web", "test")),
        ({"namespace": "acme", "project": "web"}, ("acme", Scope.PROJECT, "web", None)),
        # The namespace of the context does not turn an organization's secret into a project's.
        ({"current": "web"}, ("acme", Scope.ORGANIZATION, None, None)),
    ],
)
def test_labels_tell_namespace_and_scope(stated, place):
    assert chosen(**stated) == place


def test_organization_is_the_one_of_the_present_namespace_or_stated():
    bindings = (*ALL, OTHER_HOME)
    assert chosen(*bindings, current="web")[0] == "acme"
    assert chosen(*bindings, organization="umbrella")[0] == "umbrella"
    with pytest.raises(ConfigurationError, match=r"several namespaces can hold it: 'acme', 'umbrella'; choose one"):
        chosen(*bindings)


def test_present_namespace_decides_between_several():
    second = Binding("web-two", "acme", "web")
    assert chosen(*ALL, second, project="web", current="web-two")[0] == "web-two"
    with pytest.raises(ConfigurationError, match="choose one with -n"):
        chosen(*ALL, second, project="web")


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"project": "nothing"}, "has the label of project 'nothing'"),
        ({"environment": "production"}, "--project must name the project"),
        ({"namespace": "unknown"}, "has no scope path, or you may not read it"),
        ({"namespace": "web", "organization": "umbrella"}, "--organization must be 'acme'"),
    ],
)
def test_what_does_not_fit_is_told_with_a_remedy(stated, words):
    with pytest.raises(ConfigurationError) as raised:
        chosen(**stated)
    assert words in str(raised.value)


def test_labels_that_cannot_be_read_may_be_stated():
    assert chosen(namespace="hidden", organization="acme", project="web") == ("hidden", Scope.PROJECT, "web", None)


def test_namespace_that_may_not_hold_the_definition_is_denied():
    place = choose_place(PlaceRequest(namespace="web", project="api"), ALL)
    with pytest.raises(DeniedError, match="must be 'web'"):
        place.slot("aws")


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ({}, "aws-key"),
        ({"project": "web"}, "aws-key"),
        ({"namespace": "web-production"}, "aws-key"),
        ({"namespace": "acme", "project": "web"}, "aws-key-web"),
        ({"namespace": "acme", "project": "web", "environment": "production"}, "aws-key-web-production"),
        ({"project": "web", "environment": "review/*"}, "aws-key-review"),
        ({"project": "web", "environment": "*"}, "aws-key-any"),
    ],
)
def test_name_of_the_object_is_unique_among_the_scopes_of_a_namespace(stated, name):
    assert object_name("AWS_key", choose_place(PlaceRequest(**stated), ALL)) == name
