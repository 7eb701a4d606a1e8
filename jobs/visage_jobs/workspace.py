"""Where everything goes by default: one folder or s3:// prefix with the data and the runs.

data/<name>/      prepared shards and their manifest
runs/<name>/      training runs
evaluations/      predictions and reports
mlflow.db         tracking, unless MLFLOW_TRACKING_URI names a server
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from visage.store.base import join_uri

__all__ = ["Workspace"]

DEFAULT_ROOT = "workspace"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths below one root URI."""

    root: str

    @classmethod
    def open(cls, root: str | None) -> Workspace:
        """The given root, else $VISAGE_WORKSPACE, else ./workspace; local roots become absolute."""
        chosen = root or os.environ.get("VISAGE_WORKSPACE") or DEFAULT_ROOT
        if "://" not in chosen:
            chosen = str(Path(chosen).expanduser().resolve())
        return cls(chosen)

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return "://" not in self.root

    def data(self, name: str) -> str:
        """URI of a prepared corpus."""
        return join_uri(self.root, "data", name)

    def run(self, name: str) -> str:
        """URI of a training run."""
        return join_uri(self.root, "runs", name)

    def evaluation(self, name: str) -> str:
        """URI of an evaluation."""
        return join_uri(self.root, "evaluations", name)

    def styles(self) -> str:
        """URI below which made styles lie, each under its name."""
        return join_uri(self.root, "styles")

    def tracking_uri(self) -> str:
        """$MLFLOW_TRACKING_URI.

        Else sqlite in the workspace (in ./workspace when the root is s3://).
        """
        named = os.environ.get("MLFLOW_TRACKING_URI")
        if named:
            return named
        folder = Path(self.root) if self.is_local else Path(DEFAULT_ROOT).resolve()
        return f"sqlite:///{folder / 'mlflow.db'}"
