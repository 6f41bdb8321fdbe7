"""Dagster's Helm chart, as far as our values use it.

``KEYS`` are from the chart's published schema (helm/dagster/schema in Dagster's repository): what
is not there the chart ignores without a word. The functions do what its templates do with our
values.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tests.deploy.compose import DEPLOY

VALUES: dict[str, Any] = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())

ANY: dict[str, Any] = {"*": None}
"""Kubernetes' own, or Dagster's: not the chart's to know."""

IMAGE = {"repository": None, "tag": None, "pullPolicy": None}
ENV = {"env": ANY, "envConfigMaps": {"name": None}, "envSecrets": {"name": None}}
POD = {"image": IMAGE, "resources": ANY, "labels": ANY, "nodeSelector": ANY, "volumes": ANY, **ENV}
TICKS = {"purgeAfterDays": {"skipped": None, "success": None, "failure": None, "started": None}}
KEYS: dict[str, Any] = {
    "global": {"postgresqlSecretName": None, "dagsterHome": None, "serviceAccountName": None},
    "generatePostgresqlPasswordSecret": None,
    "postgresql": {
        "enabled": None,
        "postgresqlHost": None,
        "postgresqlUsername": None,
        "postgresqlPassword": None,
        "postgresqlDatabase": None,
        "postgresqlParams": ANY,
        "postgresqlScheme": None,
        "service": {"port": None},
    },
    "dagster-user-deployments": {
        "enabled": None,
        "enableSubchart": None,
        "deployments": {
            "name": None,
            "dagsterApiGrpcArgs": None,
            "includeConfigInLaunchedRuns": {"enabled": None},
            "port": None,
            **POD,
        },
    },
    "dagsterWebserver": {
        "replicaCount": None,
        "service": {"type": None, "port": None, "annotations": ANY},
        "enableReadOnly": None,
        "pathPrefix": None,
        **POD,
    },
    "dagsterDaemon": {
        "enabled": None,
        "runCoordinator": {"enabled": None},
        "runMonitoring": {"enabled": None},
        "runRetries": {"enabled": None},
        **POD,
    },
    "runLauncher": {
        "type": None,
        "config": {
            "k8sRunLauncher": {
                "imagePullPolicy": None,
                "jobNamespace": None,
                "loadInclusterConfig": None,
                "kubeconfigFile": None,
                "envConfigMaps": {"name": None},
                "envSecrets": {"name": None},
                "envVars": None,
                "labels": ANY,
                "resources": ANY,
                "runK8sConfig": {
                    "containerConfig": ANY,
                    "podSpecConfig": ANY,
                    "podTemplateSpecMetadata": ANY,
                    "jobSpecConfig": ANY,
                    "jobMetadata": ANY,
                },
            }
        },
    },
    "pythonLogs": {"managedPythonLoggers": None, "pythonLogLevel": None},
    "telemetry": {"enabled": None},
    "retention": {"enabled": None, "schedule": TICKS, "sensor": TICKS, "autoMaterialize": TICKS},
    "additionalInstanceConfig": ANY,
}


def unknown_keys(values: Any, known: Mapping[str, Any] | None, path: str = "") -> Iterator[str]:
    """Keys of the values that the chart does not know."""
    if known is ANY or known is None:
        return
    for entry in values if isinstance(values, list) else [values]:
        for key, value in entry.items():
            if key not in known:
                yield f"{path}{key}"
            else:
                yield from unknown_keys(value, known[key], f"{path}{key}.")


def launcher_config() -> dict[str, Any]:
    """The configuration of Dagster's K8sRunLauncher."""
    config = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    run_config = config["runK8sConfig"]
    return {
        "load_incluster_config": config["loadInclusterConfig"],
        "image_pull_policy": config["imagePullPolicy"],
        "env_config_maps": [one["name"] for one in config["envConfigMaps"]],
        "env_secrets": [one["name"] for one in config["envSecrets"]],
        "env_vars": config["envVars"],
        "resources": config["resources"],
        "run_k8s_config": {
            "pod_spec_config": run_config["podSpecConfig"],
            "job_spec_config": run_config["jobSpecConfig"],
        },
        "dagster_home": "/opt/dagster/dagster_home",
        "instance_config_map": "headrace-instance",
        "job_namespace": "data",
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "service_account_name": "headrace",
    }


def instance_config() -> dict[str, Any]:
    """dagster.yaml of the chart's instance."""
    postgres, retention = VALUES["postgresql"], VALUES["retention"]
    return {
        "storage": {
            "postgres": {
                "postgres_db": {
                    "username": postgres["postgresqlUsername"],
                    "password": {"env": "DAGSTER_PG_PASSWORD"},
                    "hostname": postgres["postgresqlHost"] or "headrace-postgresql",
                    "db_name": postgres["postgresqlDatabase"],
                    "params": postgres["postgresqlParams"],
                    "scheme": postgres["postgresqlScheme"],
                }
            }
        },
        "run_launcher": {
            "module": "dagster_k8s",
            "class": "K8sRunLauncher",
            "config": launcher_config(),
        },
        "python_logs": {"managed_python_loggers": VALUES["pythonLogs"]["managedPythonLoggers"]},
        "telemetry": VALUES["telemetry"],
        "retention": {
            kind: {"purge_after_days": retention[kind]["purgeAfterDays"]}
            for kind in ("schedule", "sensor")
        },
        **VALUES["additionalInstanceConfig"],
    }
