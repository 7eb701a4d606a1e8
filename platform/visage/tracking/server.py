"""One run on an MLflow server: opened once, then fed operations in order.

Behind the `RunServer` protocol, so that what happens when a server fails is tested without one.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from visage.errors import TrackingError
from visage.tracking.backend import RefusedError, artifact_root, classify, connect
from visage.tracking.heartbeat import HEARTBEAT_TAG, Heartbeat
from visage.tracking.operations import (
    Artifact,
    Finish,
    Input,
    Metrics,
    Operation,
    Params,
    Tags,
    Text,
)

__all__ = ["MlflowServer", "OpenedRun", "RunServer"]

log = logging.getLogger(__name__)

KEY_TAG = "visage.key"
MAX_METRICS_PER_CALL = 500
MAX_VALUES_PER_CALL = 100
DIGEST_CHARACTERS = 36
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """What the server holds of the run already."""

    run_id: str
    last_steps: Mapping[str, int]
    """Metric name to the last step that was logged."""
    params: Mapping[str, str]


class RunServer(Protocol):
    """Where operations go; both methods raise UnavailableError or RefusedError."""

    def open(self) -> OpenedRun:
        """Create the run or take it up again."""
        ...

    def send(self, run: OpenedRun, operations: Sequence[Operation]) -> None:
        """Apply operations in order; those already applied change nothing."""
        ...


class MlflowServer:
    """A run of one experiment at a tracking URI, known by its id or by a key of our own."""

    def __init__(self, tracking_uri: str, *, experiment: str, name: str, key: str) -> None:
        """Connects nothing yet; `key` is an id of MLflow or any name that is unique to this run."""
        if not _KEY.fullmatch(key):
            raise TrackingError(
                f"run id {key!r}: use letters, digits, '-' and '_' only, at most 128 of them"
            )
        self._uri = tracking_uri
        self._experiment = experiment
        self._name = name
        self._key = key
        self._client: Any = None

    def open(self) -> OpenedRun:
        """Find the run by id, then by key, else create it; its status becomes RUNNING."""
        try:
            if self._client is None:
                self._client = connect(self._uri)
            run_id = self._find() or self._create()
            # Before it runs again, so that nobody takes it for the run of a dead process.
            self._client.set_tag(run_id, HEARTBEAT_TAG, Heartbeat.now(time.time()).to_text())
            self._client.update_run(run_id, status="RUNNING", name=self._name)
            data = self._client.get_run(run_id).to_proto().data
        except Exception as err:
            raise classify(err, self._uri) from err
        return OpenedRun(
            run_id=run_id,
            last_steps={metric.key: int(metric.step) for metric in data.metrics},
            params={param.key: param.value for param in data.params},
        )

    def send(self, run: OpenedRun, operations: Sequence[Operation]) -> None:
        """Apply operations in order, neighbouring metrics in one call."""
        for kind, group in groupby(operations, key=type):
            try:
                if kind is Metrics:
                    self._send_metrics(run, [item for item in group if isinstance(item, Metrics)])
                else:
                    for operation in group:
                        self._send_one(run, operation)
            except Exception as err:
                raise classify(err, f"run {run.run_id}") from err

    def _find(self) -> str | None:
        by_id = self._active_run(self._key)
        if by_id is not None:
            return by_id
        experiment = self._client.get_experiment_by_name(self._experiment)
        if experiment is None:
            return None
        found = self._client.search_runs(
            [experiment.experiment_id],
            filter_string=f"tags.`{KEY_TAG}` = '{self._key}'",
            max_results=1,
        )
        return str(found[0].info.run_id) if found else None

    def _active_run(self, run_id: str) -> str | None:
        try:
            info = self._client.get_run(run_id).info
        except Exception as err:
            refused = classify(err, self._uri)
            if isinstance(refused, RefusedError) and refused.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return str(info.run_id) if info.lifecycle_stage == "active" else None

    def _create(self) -> str:
        run = self._client.create_run(
            self._experiment_id(),
            run_name=self._name,
            tags={KEY_TAG: self._key, HEARTBEAT_TAG: Heartbeat.now(time.time()).to_text()},
        )
        return str(run.info.run_id)

    def _experiment_id(self) -> str:
        experiment = self._client.get_experiment_by_name(self._experiment)
        if experiment is None:
            experiment = self._create_experiment()
        if experiment.lifecycle_stage != "active":
            raise RefusedError(
                f"experiment {self._experiment!r} is in MLflow's bin; restore it or name another",
                "INVALID_STATE",
            )
        return str(experiment.experiment_id)

    def _create_experiment(self) -> Any:
        root = artifact_root(self._uri, self._experiment)
        try:
            self._client.create_experiment(self._experiment, artifact_location=root)
        except Exception as err:
            refused = classify(err, self._uri)
            if not isinstance(refused, RefusedError) or "ALREADY_EXISTS" not in refused.code:
                raise
        return self._client.get_experiment_by_name(self._experiment)

    def _send_metrics(self, run: OpenedRun, group: Iterable[Metrics]) -> None:
        from mlflow.entities import Metric

        rows = [
            Metric(name, value, operation.time_ms, operation.step)
            for operation in group
            for name, value in operation.values.items()
            if operation.step > run.last_steps.get(name, -1)
        ]
        for start in range(0, len(rows), MAX_METRICS_PER_CALL):
            self._client.log_batch(run.run_id, metrics=rows[start : start + MAX_METRICS_PER_CALL])

    def _send_one(self, run: OpenedRun, operation: Operation) -> None:
        match operation:
            case Params(values):
                new = {key: value for key, value in values.items() if key not in run.params}
                self._send_params(run, new)
            case Tags(values):
                self._send_tags(run, values)
            case Input():
                self._client.log_inputs(run.run_id, [_dataset_input(operation)])
            case Text(file, body):
                self._client.log_text(run.run_id, body, file)
            case Artifact(path, _) if not Path(path).exists():
                log.warning("%s is gone; it is not kept with run %s", path, run.run_id)
            case Artifact(path, folder):
                self._client.log_artifact(run.run_id, path, folder or None)
            case Finish(status, time_ms):
                self._client.set_terminated(run.run_id, status, end_time=time_ms)

    def _send_params(self, run: OpenedRun, values: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        params = [Param(key, value) for key, value in values.items()]
        for start in range(0, len(params), MAX_VALUES_PER_CALL):
            self._client.log_batch(run.run_id, params=params[start : start + MAX_VALUES_PER_CALL])

    def _send_tags(self, run: OpenedRun, values: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        tags = [RunTag(key, value) for key, value in values.items()]
        for start in range(0, len(tags), MAX_VALUES_PER_CALL):
            self._client.log_batch(run.run_id, tags=tags[start : start + MAX_VALUES_PER_CALL])


def _dataset_input(operation: Input) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=operation.name,
        digest=operation.digest[:DIGEST_CHARACTERS],
        source_type="visage",
        source=json.dumps({"uri": operation.source, "digest": operation.digest}),
        profile=json.dumps({"rows": operation.rows}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", operation.split)])
