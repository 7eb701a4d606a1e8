"""The network of a replica: one forward pass at a time, in a thread of its own.

The event loop never runs the model. Batches come from outside (`@serve.batch` in a cluster, single
faces elsewhere), so that this module knows nothing about Ray.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from visage.data.emotion_inputs import EmotionInputs
from visage.errors import VisageError

__all__ = ["FaceScores", "ModelOutputError", "Network", "Predictions", "Predictor"]


class ModelOutputError(VisageError):
    """The network gave something that is no probability; the replica is not healthy."""


class Predictions(Protocol):
    """What a forward pass over N faces gives."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Shape (N, K), rows sum to 1."""
        ...

    @property
    def branch_weights(self) -> NDArray[np.float32]:
        """Shape (N, 2): face, context."""
        ...

    @property
    def attention(self) -> NDArray[np.float32]:
        """Shape (N, h, w), each grid sums to 1."""
        ...


class Predictor(Protocol):
    """The part of an emotion predictor that runs the network."""

    def predict_batch(
        self,
        faces: NDArray[np.uint8],
        contexts: NDArray[np.uint8],
        context_boxes: NDArray[np.int64],
    ) -> Predictions:
        """Faces (N, S, S, 3), contexts (N, H, W, 3), boxes (N, 4) in pixels of the contexts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceScores:
    """What the network says about one face."""

    probabilities: NDArray[np.float32]
    """Shape (K,)."""
    branch_weights: NDArray[np.float32]
    """Shape (2,): face, context."""
    attention: NDArray[np.float32]
    """Shape (h, w)."""


class Network:
    """Runs batches one after the other and counts them by size."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forward")
        self._sizes: Counter[int] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def batch_sizes(self) -> dict[int, int]:
        """Forward passes so far by number of faces."""
        return dict(self._sizes)

    async def idle(self) -> None:
        """Wait for the pass that runs, if one does.

        Faces that wait here before they join a queue become one batch the moment the network is
        free, and a face that meets a free network waits for nobody.
        """
        await self._idle.wait()

    async def run(self, batch: Sequence[EmotionInputs]) -> list[FaceScores]:
        """The scores of each face, in order; ModelOutputError if any is not finite."""
        loop = asyncio.get_running_loop()
        self._idle.clear()
        try:
            scores = await loop.run_in_executor(self._thread, self._forward, list(batch))
        finally:
            self._idle.set()
        self._sizes[len(batch)] += 1
        return scores

    def close(self) -> None:
        """Let the pass that runs end, and start none."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _forward(self, batch: list[EmotionInputs]) -> list[FaceScores]:
        found = self._predictor.predict_batch(
            np.stack([inputs.face for inputs in batch]),
            np.stack([inputs.context for inputs in batch]),
            np.array([inputs.box for inputs in batch], dtype=np.int64),
        )
        arrays = (found.probabilities, found.branch_weights, found.attention)
        if not all(np.isfinite(array).all() for array in arrays):
            raise ModelOutputError("the network gave values that are not finite; check the weights")
        return [
            FaceScores(probabilities=probabilities, branch_weights=weights, attention=attention)
            for probabilities, weights, attention in zip(*arrays, strict=True)
        ]
