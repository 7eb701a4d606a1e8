"""Promises of the emotion networks over the whole lattice of their switches."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from visage.errors import SpecError
from visage.models import (
    EmotionOutput,
    build_emotion_model,
    count_parameters,
    picture_tensor,
)
from visage.models.attention import ContextAttention, GlobalLocalAttention, MeanAttention
from visage.models.resnet import ResNet18, load_trunk
from visage.specs.emotion import EmotionModelSpec

TINY = {
    "widths": (4, 4, 6, 6, 8),
    "input": {"face_size": 32, "context_height": 64, "context_width": 64, "context_crop": 48},
    "bn_momentum": 0.1,
}
TINY_RESNET = {
    "backbone": "resnet18",
    "input": {"face_size": 32, "context_height": 64, "context_width": 64, "context_crop": 48},
}


def _lattice() -> list[dict[str, object]]:
    """Every combination that the spec accepts for cnn5, and one of each kind for the others."""
    accepted: list[dict[str, object]] = []
    for inputs, attention, fusion in itertools.product(
        ("F", "mC", "fC", "F+mC", "F+fC"),
        ("none", "CA", "GLA"),
        ("none", "adaptive", "concat"),
    ):
        values = {**TINY, "inputs": inputs, "attention": attention, "fusion": fusion}
        try:
            EmotionModelSpec.parse(values)
        except SpecError:
            continue
        accepted.append(values)
    others = (
        {**TINY, "family": "caer-net-s"},
        {**TINY, "family": "caer-net-s", "inputs": "F+fC"},
        {**TINY_RESNET, "inputs": "F"},
        {**TINY_RESNET, "inputs": "mC"},
        {**TINY_RESNET, "fusion": "concat", "attention": "CA"},
        TINY_RESNET,
    )
    return [*accepted, *others]


LATTICE = _lattice()


def _name(values: dict[str, object]) -> str:
    keys = ("family", "backbone", "inputs", "attention", "fusion")
    return "-".join(str(values[key]) for key in keys if key in values)


def _spec(**values: object) -> EmotionModelSpec:
    return EmotionModelSpec.parse({**TINY, **values})


def _model(spec: EmotionModelSpec, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_emotion_model(spec)


def _batch(
    spec: EmotionModelSpec, count: int = 3, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    face = torch.rand(count, 3, spec.input.face_size, spec.input.face_size, generator=draws)
    context = torch.rand(
        count, 3, spec.input.context_crop, spec.input.context_crop, generator=draws
    )
    return face, context


lattice = pytest.mark.parametrize("values", LATTICE, ids=_name)


def test_the_lattice_holds_every_ablation_and_no_more():
    # F alone; two single contexts x 3 attentions; two pairs x 3 attentions x 2 fusions; 6 others
    assert len(LATTICE) == (1 + 2 * 3 + 2 * 3 * 2) + 6


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({"normalize": "none"}, 2_158_602),
        ({}, 2_158_602),
        ({"backbone": "resnet18"}, 22_748_298),
        ({"family": "caer-net-s"}, 2_390_028),
    ],
)
def test_the_networks_have_exactly_the_published_number_of_parameters(values, count):
    with torch.device("meta"):
        assert count_parameters(build_emotion_model(EmotionModelSpec.parse(values))) == count


@lattice
def test_every_variant_returns_logits_branch_weights_and_attention_of_the_stated_shapes(values):
    spec = EmotionModelSpec.parse(values)
    output = _model(spec)(*_batch(spec))
    side = 3 if spec.backbone == "cnn5" else 2
    assert isinstance(output, EmotionOutput)
    assert output.logits.shape == (3, 7)
    assert output.branch_weights.shape == (3, 2)
    assert output.attention.shape == (3, side, side)
    assert all(torch.isfinite(value).all() for value in output)
    assert torch.allclose(output.branch_weights.sum(1), torch.ones(3))
    share = 1.0 if spec.uses_context else 0.0
    assert torch.allclose(output.attention.sum((1, 2)), torch.full((3,), share))


@lattice
def test_gradients_reach_every_parameter_so_ddp_needs_no_search_for_unused_ones(values):
    spec = EmotionModelSpec.parse({**values, "dropout": 0.0})
    model = _model(spec)
    loss = F.cross_entropy(model(*_batch(spec, 4)).logits, torch.tensor([0, 1, 2, 3]))
    loss.backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name
        if name.endswith("weight") and value.ndim > 1:
            assert value.grad.abs().sum() > 0, name


@lattice
def test_evaluation_is_deterministic_and_does_not_depend_on_the_rest_of_the_batch(values):
    spec = EmotionModelSpec.parse(values)
    model = _model(spec).eval()
    face, context = _batch(spec, 4)
    with torch.no_grad():
        whole, again = model(face, context), model(face, context)
        alone = model(face[1:2], context[1:2])
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    for together, single in zip(whole, alone, strict=True):
        assert torch.allclose(together[1:2], single, atol=1e-5)


@lattice
def test_a_saved_state_gives_the_same_outputs_in_a_fresh_model(values):
    spec = EmotionModelSpec.parse(values)
    trained, fresh = _model(spec, 0), _model(spec, 1)
    trained(*_batch(spec))  # moves the batch-norm statistics
    fresh.load_state_dict(trained.state_dict())
    trained.eval(), fresh.eval()
    with torch.no_grad():
        left, right = trained(*_batch(spec)), fresh(*_batch(spec))
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@lattice
def test_channels_last_changes_nothing_but_rounding(values):
    spec = EmotionModelSpec.parse(values)
    model = _model(spec).eval()
    face, context = _batch(spec)
    with torch.no_grad():
        plain = model(face, context)
        model = model.to(memory_format=torch.channels_last)
        other = model(*(x.to(memory_format=torch.channels_last) for x in (face, context)))
    for left, right in zip(plain, other, strict=True):
        assert torch.allclose(left, right, atol=1e-4)


@lattice
def test_an_empty_batch_gives_empty_outputs(values):
    spec = EmotionModelSpec.parse(values)
    with torch.no_grad():
        output = _model(spec).eval()(*_batch(spec, 0))
    assert [len(value) for value in output] == [0, 0, 0]


@pytest.mark.parametrize("inputs", ["F", "mC", "fC"])
def test_only_the_stated_branch_reaches_the_classifier(inputs):
    spec = _spec(inputs=inputs, attention="none")
    model = _model(spec).eval()
    face, context = _batch(spec)
    with torch.no_grad():
        logits = model(face, context).logits
        other_face = model(1 - face, context).logits
        other_context = model(face, 1 - context).logits
    assert torch.equal(logits, other_context) == (inputs == "F")
    assert torch.equal(logits, other_face) == (inputs != "F")


def test_with_a_single_context_branch_the_face_steers_the_attention_and_nothing_else():
    spec = _spec(inputs="mC", attention="GLA")
    model = _model(spec).eval()
    face, context = _batch(spec)
    with torch.no_grad():
        before, after = model(face, context), model(1 - face, context)
        assert not torch.allclose(before.attention, after.attention, atol=0)
        cells = model.context_encoder(model.normalize(context))
        seen = (cells * before.attention[:, None]).sum((2, 3))
        assert torch.allclose(model.head(seen), before.logits, atol=1e-5)
    assert before.branch_weights.tolist() == [[0.0, 1.0]] * 3


@pytest.mark.parametrize("values", LATTICE[3:-2:4], ids=_name)
def test_every_kind_of_network_can_learn_a_small_batch_by_heart(values):
    spec = EmotionModelSpec.parse({**values, "dropout": 0.0, "bn_momentum": 0.1})
    model, (face, context) = _model(spec), _batch(spec, 6)
    truth = torch.arange(6)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(face, context).logits, truth).backward()
        optimizer.step()
    assert (model(face, context).logits.argmax(1) == truth).all()


def test_the_guided_attention_is_the_published_dense_layer_on_the_concatenation():
    torch.manual_seed(0)
    attention = GlobalLocalAttention(8, bn_eps=1e-3, bn_momentum=0.01)
    cells, guide = torch.randn(5, 8, 4, 3), torch.randn(5, 8)
    repeated = guide[:, :, None, None].expand(-1, -1, 4, 3)
    pairs = torch.cat([repeated, cells], dim=1).flatten(2).transpose(1, 2)  # (5, 12, 16)
    hidden = F.relu(attention.hidden(pairs))
    hidden = F.batch_norm(
        hidden.reshape(60, -1),
        None,
        None,
        attention.norm.weight,
        attention.norm.bias,
        True,
        0,
        1e-3,
    )
    scores = attention.score(F.relu(hidden)).view(5, 4, 3)
    vector, weights = attention(cells, guide)
    assert torch.allclose(weights, scores.flatten(1).softmax(1).view(5, 4, 3), atol=1e-6)
    assert torch.allclose(vector, (cells * weights[:, None]).sum((2, 3)), atol=1e-5)


def test_adding_a_constant_to_every_score_changes_no_attention():
    torch.manual_seed(0)
    attention = GlobalLocalAttention(8, bn_eps=1e-3, bn_momentum=0.01).eval()
    cells, guide = torch.randn(5, 8, 4, 3), torch.randn(5, 8)
    with torch.no_grad():
        before = attention(cells, guide)
        attention.score.bias += 7.0
        after = attention(cells, guide)
    assert torch.allclose(before[1], after[1], atol=1e-6)
    assert torch.allclose(before[0], after[0], atol=1e-5)


def test_attention_over_equal_cells_is_even_and_without_attention_it_always_is():
    cells = torch.randn(2, 8, 1, 1).expand(2, 8, 5, 5)
    guided = GlobalLocalAttention(8, bn_eps=1e-3, bn_momentum=0.01).eval()
    for vector, weights in (guided(cells, torch.randn(2, 8)), MeanAttention()(cells, None)):
        assert torch.allclose(weights, torch.full((2, 5, 5), 1 / 25))
        assert torch.allclose(vector, cells[:, :, 0, 0], atol=1e-6)


def test_the_ports_scores_are_bounded_below_and_ours_are_not():
    torch.manual_seed(0)
    cells = torch.randn(4, 8, 6, 6)
    _, port = ContextAttention(8, bn_eps=1e-3, bn_momentum=0.01, relu_scores=True)(cells, None)
    _, ours = ContextAttention(8, bn_eps=1e-3, bn_momentum=0.01)(cells, None)
    assert all(len(row.unique()) < 36 for row in port.flatten(1))  # ReLU ties the lowest cells
    assert all(len(row.unique()) == 36 for row in ours.flatten(1))


def test_the_ports_context_vector_is_a_mean_over_weighted_cells_before_its_batch_norm():
    spec = _spec(family="caer-net-s")
    model, (face, context) = _model(spec).eval(), _batch(spec)
    seen: list[torch.Tensor] = []
    model.context_norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        output = model(face, context)
        cells = model.context_encoder(model.normalize(context))
    assert torch.allclose(seen[0], (cells * output.attention[:, None]).mean((2, 3)), atol=1e-6)


def test_guidance_without_a_guide_is_a_programming_error():
    with pytest.raises(TypeError, match="guide"):
        GlobalLocalAttention(8, bn_eps=1e-3, bn_momentum=0.01)(torch.randn(1, 8, 2, 2), None)


def test_normalisation_happens_inside_and_is_not_part_of_the_saved_state():
    plain, scaled = _model(_spec(normalize="none")), _model(_spec(normalize="imagenet"))
    assert plain.state_dict().keys() == scaled.state_dict().keys()
    face, context = _batch(_spec())
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    plain.eval(), scaled.eval()
    with torch.no_grad():
        by_hand = plain((face - mean) / std, (context - mean) / std)
        assert torch.allclose(by_hand.logits, scaled(face, context).logits, atol=1e-5)


def test_weights_start_as_in_keras():
    model = _model(EmotionModelSpec())
    kernel = model.head.hidden.weight.detach()
    limit = (6 / (512 + 128)) ** 0.5
    assert kernel.abs().max() <= limit
    assert float(kernel.std()) == pytest.approx(limit / 3**0.5, rel=0.02)
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            assert not value.any(), name
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {(layer.eps, layer.momentum) for layer in norms} == {(1e-3, 0.01)}


def test_bytes_become_channels_last_tensors_between_zero_and_one():
    made = picture_tensor(torch.tensor([0, 51, 255], dtype=torch.uint8).repeat(2, 4, 4, 1))
    assert made.shape == (2, 3, 4, 4)
    assert torch.allclose(made[0, :, 0, 0], torch.tensor([0.0, 0.2, 1.0]))
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_half_precision_on_the_cpu_keeps_attention_in_single_precision():
    spec = _spec()
    model, (face, context) = _model(spec), _batch(spec)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(face * 50, context * 50)
    assert output.attention.dtype == output.branch_weights.dtype == torch.float32
    assert torch.allclose(output.attention.sum((1, 2)), torch.ones(3), atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@lattice
def test_fp16_autocast_on_the_gpu_is_finite_and_close_to_fp32(values):
    spec = EmotionModelSpec.parse({**values, "dropout": 0.0})
    model = _model(spec).cuda().to(memory_format=torch.channels_last)
    face, context = (x.cuda() for x in _batch(spec, 4))
    exact = model(face, context)
    with torch.autocast("cuda", dtype=torch.float16):
        output = model(face, context)
        loss = F.cross_entropy(output.logits, torch.arange(4, device="cuda"))
    torch.amp.GradScaler("cuda").scale(loss).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert torch.allclose(output.logits.float(), exact.logits, atol=0.1)
    assert output.attention.dtype == torch.float32


def test_ddp_trains_without_looking_for_unused_parameters(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        spec = _spec(inputs="mC", attention="GLA")
        model = nn.parallel.DistributedDataParallel(_model(spec))
        for _ in range(2):  # an unused parameter makes the second pass fail
            F.cross_entropy(model(*_batch(spec)).logits, torch.arange(3)).backward()
    finally:
        torch.distributed.destroy_process_group()


def test_torchvision_named_weights_fill_both_trunks_and_a_classifier_in_them_is_ignored():
    spec = EmotionModelSpec.parse({**TINY_RESNET, "pretrained": "weights.pth"})
    donor = ResNet18()
    weights = {
        **donor.state_dict(),
        "fc.weight": torch.zeros(1000, 512),
        "fc.bias": torch.zeros(1000),
    }
    without_counters = {n: v for n, v in weights.items() if "num_batches" not in n}
    model = build_emotion_model(spec, trunk_weights=without_counters)
    for trunk in (model.face_encoder, model.context_encoder):
        assert torch.equal(trunk.conv1.weight, donor.conv1.weight)
        assert trunk.layer4[1].bn2.weight.data_ptr() != donor.layer4[1].bn2.weight.data_ptr()


def test_the_trunk_has_the_names_and_shapes_that_torchvision_publishes():
    state = ResNet18().state_dict()
    assert len([name for name in state if not name.endswith("num_batches_tracked")]) == 100
    for name, shape in {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "layer1.0.conv2.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer3.0.downsample.1.bias": (256,),
        "layer4.1.bn2.weight": (512,),
    }.items():
        assert tuple(state[name].shape) == shape
    assert "layer1.0.downsample.0.weight" not in state


def test_other_weights_than_resnet18s_are_refused_by_name():
    state = ResNet18().state_dict()
    lacking = {name: value for name, value in state.items() if name != "layer3.1.conv1.weight"}
    with pytest.raises(SpecError, match=r"lack layer3\.1\.conv1\.weight"):
        load_trunk(ResNet18(), lacking)
    with pytest.raises(SpecError, match="unknown backbone"):
        load_trunk(ResNet18(), {**state, "backbone.conv1": torch.zeros(1)})
    with pytest.raises(SpecError, match=r"differ in conv1\.weight"):
        load_trunk(ResNet18(), {**state, "conv1.weight": torch.zeros(64, 3, 3, 3)})


def test_pretrained_weights_are_neither_forgotten_nor_slipped_in():
    with pytest.raises(SpecError, match="new_emotion_model"):
        build_emotion_model(EmotionModelSpec(backbone="resnet18", pretrained="x.pth"))
    with pytest.raises(SpecError, match="does not name them"):
        build_emotion_model(EmotionModelSpec(backbone="resnet18"), trunk_weights={})
