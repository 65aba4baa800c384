"""A setting that cannot work is refused at the start, with the flag's name."""

from __future__ import annotations

from typing import Any

import pytest

from scoped_secrets.config import AdmissionSettings, ClusterSettings, ControllerSettings, LeaseSettings, MetricsSettings
from scoped_secrets.errors import ConfigurationError


def test_the_defaults_are_sound():
    controller = ControllerSettings(cluster=ClusterSettings(), lease=LeaseSettings())
    admission = AdmissionSettings(cluster=ClusterSettings(), material="/etc/scoped-secrets/admission")

    assert controller.lease == LeaseSettings(duration=15.0, renew_deadline=10.0, retry_period=2.0)
    assert (controller.workers, admission.port) == (16, 10250)


@pytest.mark.parametrize(
    ("settings", "field", "flag"),
    [
        (ClusterSettings, {"namespace": "Upper"}, "--namespace"),
        (ClusterSettings, {"namespace": ""}, "--namespace"),
        (ClusterSettings, {"organization": "a/b"}, "--organization"),
        (ClusterSettings, {"organization": "a" * 64}, "--organization"),
        (ClusterSettings, {"default_access": "Maybe"}, "--default-access"),
        (ClusterSettings, {"default_home": "root"}, "--default-home"),
        (ClusterSettings, {"default_home": "/root/../etc"}, "--default-home"),
        (ClusterSettings, {"resync_seconds": 1.0}, "--resync-seconds"),
        (LeaseSettings, {"duration": 15.5}, "--lease-duration"),
        (LeaseSettings, {"duration": 10.0}, "--lease-renew-deadline"),
        (LeaseSettings, {"retry_period": 9.0}, "--lease-retry-period"),
        (LeaseSettings, {"retry_period": 0.0}, "--lease-retry-period"),
        (ControllerSettings, {"probe_port": 65536}, "--probe-port"),
        (ControllerSettings, {"workers": 0}, "--workers"),
        (ControllerSettings, {"webhook_configuration": "Upper"}, "--webhook-configuration"),
        (ControllerSettings, {"admission_service": ""}, "--admission-service"),
        (ControllerSettings, {"certificates": "somebody"}, "--certificates"),
        (ControllerSettings, {"ca_file": "ca.crt"}, "--ca-file"),
        (MetricsSettings, {"port": 65536}, "--metrics-port"),
        (ControllerSettings, {"metrics": MetricsSettings(port=8081)}, "--probe-port and --metrics-port"),
        (
            AdmissionSettings,
            {"material": "m", "metrics": MetricsSettings(port=8081)},
            "--probe-port and --metrics-port",
        ),
        (AdmissionSettings, {"material": "m", "metrics": MetricsSettings(port=10250)}, "--port and --metrics-port"),
        (AdmissionSettings, {"port": -1, "material": "m"}, "--port"),
        (AdmissionSettings, {}, "--material"),
        (AdmissionSettings, {"material": "m", "material_secret": "s"}, "--material"),
        (AdmissionSettings, {"material": "m", "port": 8081}, "--port"),
    ],
)
def test_invalid_settings_are_rejected_with_the_flag(settings: type, field: dict[str, Any], flag: str):
    parts: dict[type, dict[str, Any]] = {
        ControllerSettings: {"cluster": ClusterSettings(), "lease": LeaseSettings()},
        AdmissionSettings: {"cluster": ClusterSettings()},
    }

    with pytest.raises(ConfigurationError) as caught:
        settings(**parts.get(settings, {}), **field)

    assert str(caught.value).startswith(flag) or f"give either {flag}" in str(caught.value)
