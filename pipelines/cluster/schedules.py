"""Recurring runs of a pipeline on Kubeflow Pipelines: create, list, pause, resume, delete."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.cluster.client import answering, connect, identifier, ui_address
from pipelines.cluster.submission import cluster_parameters, find_or_create, named
from pipelines.compilation import SEGMENTATION_YAML
from segmentor.errors import ConfigError

if TYPE_CHECKING:
    from kfp import Client

_PAGE = 100
# With and without seconds.
_FIELDS = (5, 6)


@dataclass(frozen=True)
class Schedule:
    """A recurring run: its id and name, its cron expression, and whether it is enabled."""

    id: str
    name: str
    cron: str
    is_enabled: bool


def create_schedule(
    name: str,
    cron: str,
    parameters: Mapping[str, Any],
    *,
    pipeline: Path = SEGMENTATION_YAML,
    endpoint: str = "",
    namespace: str = "",
    experiment: str = "segmentation",
    service_account: str = "",
    environment: Mapping[str, str] = os.environ,
) -> Schedule:
    """Run a pipeline by a schedule, one run at a time.

    Every run has the same parameters, so KFP's cache returns the data set and the training of the
    last one as long as the source is the same. Runs that were missed are not made up for: the next
    one reads what the source holds by then.

    Args:
        name: Of the recurring run; no other has it.
        cron: Five fields (minute, hour, day, month, weekday), or six with seconds before them.
        parameters: As `submit`.
        pipeline: As `submit`.
        endpoint: As `submit`.
        namespace: As `submit`.
        experiment: As `submit`.
        service_account: As `submit`.
        environment: As `submit`.

    Raises:
        ConfigError: the name is taken, the expression has another number of fields, or as `submit`.
        ServerError: the endpoint is away or refuses.
    """
    values = cluster_parameters(pipeline, parameters)
    expression = _with_seconds(cron)
    client = connect(endpoint, namespace, environment)
    with answering(ui_address(endpoint, environment)):
        if _find(client, name, namespace):
            raise ConfigError(
                f"schedule {name}", "exists", "a new name", f"segmentor schedule delete {name}"
            )
        places = find_or_create(client, pipeline, namespace, experiment)
        made = client.create_recurring_run(
            places.experiment_id,
            name,
            cron_expression=expression,
            max_concurrency=1,
            no_catchup=True,
            params=values,
            pipeline_id=places.pipeline_id,
            version_id=places.version_id,
            service_account=service_account or None,
        )
        return Schedule(identifier(made, "recurring_run_id"), name, expression, True)


def list_schedules(
    endpoint: str = "", namespace: str = "", environment: Mapping[str, str] = os.environ
) -> list[Schedule]:
    """Return all recurring runs, by name.

    Raises:
        ConfigError: as `submit`.
        ServerError: the endpoint is away or refuses.
    """
    client = connect(endpoint, namespace, environment)
    found, token = [], ""
    with answering(ui_address(endpoint, environment)):
        while True:
            page = client.list_recurring_runs(
                page_token=token, page_size=_PAGE, namespace=namespace or None
            )
            found += [_schedule(item) for item in page.recurring_runs or []]
            token = page.next_page_token or ""
            if not token:
                return sorted(found, key=lambda schedule: schedule.name)


def pause_schedule(name: str, **where: Any) -> None:
    """Start no more runs of a schedule; see `resume_schedule`."""
    _change(name, lambda client: client.disable_recurring_run, **where)


def resume_schedule(name: str, **where: Any) -> None:
    """Start runs of a schedule again.

    Args:
        name: Of the recurring run.
        where: endpoint, namespace and environment, as for `submit`.

    Raises:
        ConfigError: there is no such schedule, or as `submit`.
        ServerError: the endpoint is away or refuses.
    """
    _change(name, lambda client: client.enable_recurring_run, **where)


def delete_schedule(name: str, **where: Any) -> None:
    """Delete a schedule; its runs stay. See `resume_schedule`."""
    _change(name, lambda client: client.delete_recurring_run, **where)


def _change(
    name: str,
    change: Callable[["Client"], Callable[[str], Any]],
    endpoint: str = "",
    namespace: str = "",
    environment: Mapping[str, str] = os.environ,
) -> None:
    client = connect(endpoint, namespace, environment)
    with answering(ui_address(endpoint, environment)):
        found = _find(client, name, namespace)
        if not found:
            raise ConfigError(
                f"schedule {name}", "none of this name", remedy="segmentor schedule list"
            )
        for schedule in found:
            change(client)(schedule.id)


def _find(client: "Client", name: str, namespace: str) -> list[Schedule]:
    page = client.list_recurring_runs(
        page_size=_PAGE, namespace=namespace or None, filter=named(name)
    )
    return [_schedule(item) for item in page.recurring_runs or []]


def _schedule(item: Any) -> Schedule:
    trigger = item.trigger
    cron = trigger.cron_schedule.cron if trigger and trigger.cron_schedule else ""
    if not cron and trigger and trigger.periodic_schedule:
        cron = f"every {trigger.periodic_schedule.interval_second} s"
    return Schedule(
        identifier(item, "recurring_run_id"), item.display_name, cron, item.status == "ENABLED"
    )


def _with_seconds(cron: str) -> str:
    fields = cron.split()
    if len(fields) not in _FIELDS:
        raise ConfigError("--cron", f"'{cron}'", "five fields ('0 3 * * *'), or six with seconds")
    return " ".join(fields if len(fields) == max(_FIELDS) else ["0", *fields])
