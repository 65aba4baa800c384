"""Organization, project and environment secrets for Kubernetes job pods."""
