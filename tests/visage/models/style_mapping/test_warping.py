"""Flows: standing still is exact, moving is where the keypoints say."""

from __future__ import annotations

import pytest
import torch
from tiny_style_mapping import tiny_spec

from visage.models.projection import rotation_matrix
from visage.models.style_mapping.dense_motion import DenseMotion, Hourglass
from visage.models.style_mapping.transforms import HeadMotion, place
from visage.models.style_mapping.warping import (
    gaussian_heatmaps,
    identity_flow,
    sample_volume,
    sparse_flows,
)

CPU = torch.device("cpu")


def _draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 8, 5), (16, 8, 8)])
def test_a_volume_pulled_along_the_identity_is_itself(shape: tuple[int, int, int]) -> None:
    volume = _draw(2, 3, *shape)
    flow = identity_flow(*shape, device=CPU).expand(2, *shape, 3)
    assert torch.allclose(sample_volume(volume, flow), volume, atol=1e-5)


def test_the_released_mismatch_of_corners_is_there_when_asked_for() -> None:
    volume = _draw(1, 1, 4, 8, 8)
    flow = identity_flow(4, 8, 8, device=CPU)[None]
    assert not torch.allclose(sample_volume(volume, flow, align_corners=False), volume, atol=1e-2)


def test_a_shift_by_whole_voxels_reads_the_neighbours() -> None:
    volume = _draw(1, 2, 3, 6, 6)
    flow = identity_flow(3, 6, 6, device=CPU)[None] + torch.tensor([2 / 5, 0.0, 0.0])
    moved = sample_volume(volume, flow)
    assert torch.allclose(moved[..., :5], volume[..., 1:], atol=1e-5)
    assert torch.allclose(moved[..., 5], torch.zeros(1, 2, 3, 6), atol=1e-5)


def test_the_background_stands_still_and_each_keypoint_is_read_at_its_source() -> None:
    source, driving = _draw(2, 4, 3), _draw(2, 4, 3, seed=1)
    identity = identity_flow(2, 3, 5, device=CPU)
    flows = sparse_flows(source, driving, identity)
    assert flows.shape == (2, 5, 2, 3, 5, 3)
    assert torch.equal(flows[:, 0], identity.expand(2, *identity.shape))
    shift = (source - driving)[:, :, None, None, None]
    assert torch.allclose(flows[:, 1:], identity + shift, atol=1e-6)


def test_a_head_that_only_turns_has_one_flow_if_each_flow_turns_with_it() -> None:
    canonical, still = _draw(1, 6, 3) * 0.3, torch.zeros(1, 6, 3)
    before = HeadMotion(torch.tensor([[5.0, -10.0, 3.0]]), torch.tensor([[0.1, 0.0, 0.2]]), still)
    after = HeadMotion(torch.tensor([[-8.0, 25.0, 9.0]]), torch.tensor([[0.0, 0.1, 0.2]]), still)
    source, driving = place(canonical, before), place(canonical, after)
    turn = rotation_matrix(before.angles_deg) @ rotation_matrix(after.angles_deg).transpose(1, 2)
    flows = sparse_flows(source, driving, identity_flow(2, 4, 4, device=CPU), turn=turn)
    assert torch.allclose(flows[:, 1:], flows[:, 1:2].expand_as(flows[:, 1:]), atol=1e-5)
    assert not torch.allclose(flows[:, 1], flows[:, 0], atol=1e-2)


def test_a_heatmap_is_the_gaussian_of_the_distance_to_its_point() -> None:
    points, identity = _draw(2, 3, 3) * 0.5, identity_flow(4, 5, 6, device=CPU)
    maps = gaussian_heatmaps(points, identity, variance=0.05)
    squared = (identity - points[:, :, None, None, None]).square().sum(dim=-1)
    assert torch.allclose(maps, torch.exp(-squared / 0.1), atol=1e-6)


def _motion_net(**changes: object) -> DenseMotion:
    torch.manual_seed(0)
    return DenseMotion(tiny_spec(**changes)).eval()


def test_masks_share_each_voxel_out_and_occlusion_is_a_share() -> None:
    motion = _motion_net()(_draw(2, 4, 2, 8, 8), _draw(2, 5, 3), _draw(2, 5, 3, seed=1))
    assert motion.masks.shape == (2, 6, 2, 8, 8)
    assert torch.allclose(motion.masks.sum(dim=1), torch.ones(2, 2, 8, 8), atol=1e-5)
    assert motion.occlusion is not None
    assert motion.occlusion.shape == (2, 1, 8, 8)
    assert ((motion.occlusion > 0) & (motion.occlusion < 1)).all()


@pytest.mark.parametrize("local_motion", ["shift", "rotation"])
def test_equal_keypoints_move_nothing_whatever_the_masks(local_motion: str) -> None:
    net = _motion_net(motion={"width": 4, "widest": 8, "levels": 2, "local_motion": local_motion})
    points, angles = _draw(1, 5, 3), torch.tensor([[3.0, 20.0, -4.0]])
    motion = net(
        _draw(1, 4, 2, 8, 8), points, points, source_angles_deg=angles, driving_angles_deg=angles
    )
    assert torch.allclose(motion.flow[0], identity_flow(2, 8, 8, device=CPU), atol=1e-5)


def test_without_occlusion_there_is_no_layer_for_it() -> None:
    net = _motion_net(occlusion=False)
    motion = net(_draw(1, 4, 2, 8, 8), _draw(1, 5, 3), _draw(1, 5, 3))
    assert motion.occlusion is None
    assert not any(name.startswith("occlusion") for name, _ in net.named_parameters())


def test_flows_stay_fp32_where_the_rest_computes_in_half_precision() -> None:
    net = _motion_net()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        motion = net(_draw(1, 4, 2, 8, 8), _draw(1, 5, 3), _draw(1, 5, 3, seed=1))
    assert motion.flow.dtype == motion.masks.dtype == torch.float32
    assert torch.allclose(motion.masks.sum(dim=1), torch.ones(1, 2, 8, 8), atol=1e-5)


@pytest.mark.parametrize("widths", [(4,), (4, 8), (4, 8, 8)])
def test_an_hourglass_keeps_the_size_and_joins_its_input_again(widths: tuple[int, ...]) -> None:
    net = Hourglass(6, widths).eval()
    assert net.outputs == widths[0] // 2 + 6
    assert net(_draw(1, 6, 2, 8, 8)).shape == (1, net.outputs, 2, 8, 8)
