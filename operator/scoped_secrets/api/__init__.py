"""The custom resources as pydantic models, their CRDs, and the one place where wire data become domain data.

Other packages use the frozen dataclasses of `scoped_secrets.core`; pydantic and Kubernetes bodies end here.
"""
