"""What two phases that work against each other share within one step.

The first phase makes pictures; the second judges them. Making them twice would cost a forward pass
of the larger network, and would show its batch statistics the same batch twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from visage.errors import TrainingError

__all__ = ["MadePictures", "frozen"]


class MadePictures:
    """Pictures of this step by their place in the batch, however either phase cuts it up."""

    def __init__(self) -> None:
        self._by_place: dict[int, Tensor] = {}

    def keep(self, places: Tensor, pictures: Tensor) -> None:
        """Remember pictures, cut from their graph.

        Args:
            places: Place of each in the batch, (N,), on the CPU.
            pictures: (N, …).
        """
        for place, picture in zip(places.tolist(), pictures.detach(), strict=True):
            self._by_place[place] = picture

    def take(self, places: Tensor) -> Tensor:
        """Hand the pictures of these places over; what was taken is gone.

        Raises:
            TrainingError: the phase that makes pictures did not see these places in this step.
        """
        missing = [place for place in places.tolist() if place not in self._by_place]
        if missing:
            raise TrainingError(
                f"nothing was made for places {missing[:4]} of the batch: the phase that makes "
                "pictures comes before the one that judges them, with the same batch"
            )
        return torch.stack([self._by_place.pop(place) for place in places.tolist()])


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Gradients pass through the network to its input and do not reach its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
