"""Speech to the displacement of the 68 points: an LSTM that listens ahead (models.md A.4.1).

The network is causal. Looking ahead is a matter of when its output is read: row i is trained
towards, and read as, frame i - d, so that it has heard d frames (300 ms) of what follows.
"""

from __future__ import annotations

from torch import Tensor, nn

from visage.landmarks import POINTS
from visage.models.motion.frames import FEATURES_PER_FRAME, FrameMlp, paired
from visage.specs.motion import MotionSpec

__all__ = ["DISPLACEMENTS", "LandmarkLstm", "LstmState"]

DISPLACEMENTS = POINTS * 3
"""Outputs: x, y, z of every point, point after point."""

_FIRST_LOUDNESS = 0.05
"""Displacements are hundredths. A head as loud as torch makes it spends its first hundred
steps unlearning its noise, and unlearns on the way to hear the sound."""

LstmState = tuple[Tensor, Tensor]
"""Hidden and cell state, each (layers, N, width)."""


class LandmarkLstm(nn.Module):
    """Pairs of features -> MLP -> LSTM -> head; 3.064 M parameters with 75 outputs."""

    def __init__(self, spec: MotionSpec, *, outputs: int = DISPLACEMENTS) -> None:
        super().__init__()
        net = spec.landmark_net
        self.audio = FrameMlp(
            (FEATURES_PER_FRAME * spec.feature_channels, net.mlp_width, net.mlp_width),
            norm=spec.norm,
        )
        self.lstm = nn.LSTM(net.mlp_width, net.lstm_width, net.lstm_layers, batch_first=True)
        self.head = FrameMlp(
            (net.lstm_width, net.head_width, net.head_width, outputs), norm=spec.norm
        )
        self.head.quieten(_FIRST_LOUDNESS)

    def forward(self, features: Tensor, state: LstmState | None = None) -> tuple[Tensor, LstmState]:
        """One output row for each frame heard, and the state after the last one.

        In evaluation mode a sequence may be cut anywhere: with the state carried over, the parts
        give what the whole gives.

        Args:
            features: (N, 2T, F).
            state: After what came before; None = the beginning (zeros).

        Returns:
            Rows (N, T, outputs), of which row i belongs to frame i - landmark_look_ahead.
        """
        hidden, state = self.lstm(self.audio(paired(features)), state)
        rows: Tensor = self.head(hidden)
        return rows, state
