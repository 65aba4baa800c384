"""How clients of the API server verify its certificate, in one place for all of them."""

import ssl

__all__ = ["verify_like_kubectl"]


def verify_like_kubectl(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return a context that verifies chain, expiry and host name, and no more, as programs in Go do.

    From Python 3.13 on, the default also refuses authorities without key identifiers, as clusters of EKS have them:
    https://github.com/kubernetes-client/python/issues/2394.
    """
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
