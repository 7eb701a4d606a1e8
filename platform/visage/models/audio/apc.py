"""APC: stacked GRUs that learn speech by predicting it, and whose last states are the features.

    h_l = GRU_l(h_{l-1}),  h_0 = mel;      x̂_{t+n} = W h_L(t) + b          (post-net, training only)
    L   = mean over t < valid - n and over mel bands of |x_{t+n} - x̂_{t+n}|

The GRUs look only back, so a recording may be cut anywhere: the state of a piece, (layers, N,
width), starts the next one, and padding at the end changes nothing before it, so that sequences
need no packing. Source: autoregressive predictive coding (Chung et al. 2019), models.md A.2.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visage.errors import SpecError
from visage.specs.audio import AudioEncoderSpec

__all__ = [
    "ApcModel",
    "AudioEncoder",
    "FeatureStream",
    "copy_error",
    "encode_recording",
    "load_published_encoder",
    "prediction_error",
]

CHUNK_FRAMES = 7200
"""A minute of sound at 120 frames a second."""


class AudioEncoder(nn.Module):
    """Mel frames to features at the same rate; 4,064,256 parameters at the published size.

    The names of its weights are those of the published checkpoint (`rnns.0.weight_ih_l0`, …).
    """

    def __init__(self, spec: AudioEncoderSpec) -> None:
        super().__init__()
        widths = [spec.front.mels, *[spec.width] * spec.layers]
        self.rnns = nn.ModuleList(
            nn.GRU(into, out, batch_first=True) for into, out in itertools.pairwise(widths)
        )
        self.spec = spec

    def forward(self, mel: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode a piece, going on from the state after the piece before it.

        Args:
            mel: Normalised log-mel (N, T, mels); T may be 0.
            state: (layers, N, width), or None at the beginning of a recording.

        Returns:
            Features (N, T, width) and the new state.
        """
        if state is None:
            state = self.first_state(mel)
        if mel.shape[1] == 0:  # a GRU refuses an empty sequence
            return mel.new_zeros(len(mel), 0, self.spec.width), state
        states = []
        values = mel
        for number, layer in enumerate(self.rnns):
            made, last = layer(values, state[number : number + 1].contiguous())
            states.append(last)
            if number + 1 < len(self.rnns):
                if self.spec.residual and made.shape == values.shape:
                    made = made + values
                made = F.dropout(made, self.spec.dropout, self.training)
            values = made
        return values, torch.cat(states)

    def first_state(self, mel: Tensor) -> Tensor:
        """The state before anything was heard: zeros (layers, N, width) on the device of `mel`."""
        return mel.new_zeros(len(self.rnns), len(mel), self.spec.width)


class ApcModel(nn.Module):
    """The encoder with the post-net that teaches it; only the encoder is kept after training."""

    def __init__(self, spec: AudioEncoderSpec) -> None:
        super().__init__()
        self.encoder = AudioEncoder(spec)
        self.postnet = nn.Linear(spec.width, spec.front.mels)

    def forward(self, mel: Tensor) -> Tensor:
        """Mel (N, T, mels) to predictions (N, T, mels): entry t is frame t + n_future."""
        predicted: Tensor = self.postnet(self.encoder(mel)[0])
        return predicted


class FeatureStream:
    """Features of a recording that arrives in pieces; holds one state, however long it runs.

    Pieces of any size give what the whole would (differences below 1e-5, from the order in which
    sums are taken).
    """

    def __init__(self, encoder: AudioEncoder) -> None:
        """The encoder should be in evaluation mode; it is not changed."""
        self._encoder = encoder
        self._state: Tensor | None = None

    @torch.no_grad()
    def push(self, mel: Tensor) -> Tensor:
        """Mel frames (T, mels) to features (T, width)."""
        features: Tensor
        features, self._state = self._encoder(mel[None], self._state)
        return features[0]


def encode_recording(
    encoder: AudioEncoder, mel: Tensor, *, chunk_frames: int = CHUNK_FRAMES
) -> Tensor:
    """Features (T, width) of a whole recording (T, mels), without holding more than the result."""
    stream = FeatureStream(encoder)
    made = mel.new_empty(len(mel), encoder.spec.width)
    for start in range(0, len(mel), chunk_frames):
        made[start : start + chunk_frames] = stream.push(mel[start : start + chunk_frames])
    return made


def prediction_error(predicted: Tensor, mel: Tensor, valid: Tensor, n_future: int) -> Tensor:
    """L1 distance of predictions from what came, one mean for each recording, in fp32.

    Args:
        predicted: (N, T, mels); entry t speaks of frame t + n_future.
        mel: (N, T, mels), padded at the end.
        valid: (N,) frames that are no padding.
        n_future: Frames ahead.

    Returns:
        (N,); 0 for a recording of n_future frames or fewer, which has nothing to predict.
    """
    ahead = mel[:, n_future:].float()
    error = (predicted[:, : ahead.shape[1]].float() - ahead).abs().mean(-1)  # (N, T - n)
    places = torch.arange(error.shape[1], device=error.device)
    counts = places < (valid - n_future)[:, None]
    return (error * counts).sum(1) / counts.sum(1).clamp(min=1)


def copy_error(mel: Tensor, valid: Tensor, n_future: int) -> Tensor:
    """`prediction_error` of a model that only repeats the frame it just heard: (N,)."""
    return prediction_error(mel, mel, valid, n_future)


def load_published_encoder(encoder: AudioEncoder, weights: Mapping[str, Tensor]) -> None:
    """Copy published APC weights into the encoder; a post-net in them is ignored.

    Raises:
        SpecError: names or shapes are not those of this encoder.
    """
    named = {name.removeprefix("module."): value for name, value in weights.items()}
    given = {name: value for name, value in named.items() if not name.startswith("postnet.")}
    own = encoder.state_dict()
    missing = [name for name in own if name not in given]
    unknown = [name for name in given if name not in own]
    shapes = [name for name in given if name in own and given[name].shape != own[name].shape]
    for words, names in (("lack", missing), ("have unknown", unknown), ("differ in", shapes)):
        if names:
            raise SpecError(
                f"pretrained: not the weights of this audio encoder: they {words} "
                f"{', '.join(names[:3])}{' …' if len(names) > 3 else ''}; "
                "compare model.layers, model.width and model.front.mels"
            )
    encoder.load_state_dict(given)
