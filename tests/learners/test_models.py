"""Models: flat parameters, shapes, and torch.nn twins."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import prod

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.data.dataset import Dataset
from learners.models.flat import Model, flatten, num_params, unflatten
from learners.models.lenet import LeNet
from learners.models.lenet5 import LeNet5
from learners.models.mlp import Mlp
from learners.models.normalization import evonorm
from learners.models.resnet20 import ResNet20
from learners.models.small_cnn import SmallCnn
from learners.models.vgg11 import Vgg11
from learners.task import Task


def small_dataset(input_shape: tuple[int, ...], num_samples: int = 24, num_classes: int = 10) -> Dataset:
    rng = np.random.default_rng(5)
    inputs = rng.random((num_samples, *input_shape))
    labels = np.arange(num_samples) % num_classes
    return Dataset("random", inputs, labels, inputs[:12], labels[:12], num_classes)


def torch_mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def torch_lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def torch_lenet5(channels: int, padding: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def torch_small_cnn(channels: int, maps: tuple[int, int], padding: int, flat: int, hidden: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, maps[0], 5, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(maps[0], maps[1], 5, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(flat, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    )


class EvoNorm(nn.Module):
    """w x clip(x / 6 + 1 / 2, 0, 1) / sqrt(var + 1e-5) + b, var over each eighth of the maps of a sample."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(maps)), nn.Parameter(torch.zeros(maps))

    def forward(self, h: Tensor) -> Tensor:
        parts = []
        for part in h.chunk(8, dim=1):
            mean = part.mean((1, 2, 3), keepdim=True)
            variance = ((part - mean) ** 2).mean((1, 2, 3), keepdim=True)
            parts.append(part * (part / 6 + 0.5).clip(0, 1) / (variance + 1e-5) ** 0.5)
        return torch.cat(parts, 1) * self.weight.reshape(-1, 1, 1) + self.bias.reshape(-1, 1, 1)


Norms = tuple[Callable[[int], nn.Module], Callable[[], nn.Module]]


def group_norm(groups: int) -> Norms:
    """A normalization and the activation after it."""
    return lambda maps: nn.GroupNorm(groups, maps), nn.ReLU


EVONORM: Norms = (EvoNorm, nn.Identity)


class Block(nn.Module):
    """Two convolutions beside a shortcut: the identity, or a normalized 1 x 1 convolution where the size changes."""

    def __init__(self, before: int, maps: int, norms: Norms) -> None:
        super().__init__()
        stride = maps // before
        norm, activation = norms
        self.inner = nn.Sequential(
            nn.Conv2d(before, maps, 3, stride, 1, bias=False),
            norm(maps),
            activation(),
            nn.Conv2d(maps, maps, 3, 1, 1, bias=False),
            norm(maps),
        )
        projection = [nn.Conv2d(before, maps, 1, stride, bias=False), norm(maps)]
        self.shortcut = nn.Identity() if stride == 1 else nn.Sequential(*projection)
        self.activation = activation()

    def forward(self, h: Tensor) -> Tensor:
        return self.activation(self.inner(h) + self.shortcut(h))


def torch_vgg11(channels: int, norms: Norms) -> nn.Module:
    layers: list[nn.Module] = []
    before, (norm, activation) = channels, norms
    for maps in (16, "pool", 32, "pool", 64, 64, "pool", 128, 128, "pool", 128, 128, "pool"):
        if isinstance(maps, str):
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        else:
            layers += [nn.Conv2d(before, maps, 3, padding=1), norm(maps), activation()]
            before = maps
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 10))


def torch_resnet20(channels: int, norms: Norms) -> nn.Module:
    norm, activation = norms
    layers = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False), norm(16), activation()]
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    layers += [Block(before, maps, norms) for before, maps in itertools.pairwise(widths)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


TWINS: dict[str, tuple[Callable[[], Model], Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: Mlp((1, 8, 8), 10), torch_mlp, (1, 8, 8)),
    "lenet": (lambda: LeNet((1, 8, 8), 10), torch_lenet, (1, 8, 8)),
    "lenet5 28": (lambda: LeNet5((1, 28, 28), 10), lambda: torch_lenet5(1, 2), (1, 28, 28)),
    "lenet5 32": (lambda: LeNet5((3, 32, 32), 10), lambda: torch_lenet5(3, 0), (3, 32, 32)),
    "small_cnn": (
        lambda: SmallCnn((3, 32, 32), 10, (4, 8), 20),
        lambda: torch_small_cnn(3, (4, 8), 0, 8 * 25, 20),
        (3, 32, 32),
    ),
    "small_cnn same": (
        lambda: SmallCnn((1, 8, 12), 10, (4, 8), 20, "same"),
        lambda: torch_small_cnn(1, (4, 8), 2, 8 * 6, 20),
        (1, 8, 12),
    ),
    "vgg11": (lambda: Vgg11((3, 16, 12), 10), lambda: torch_vgg11(3, EVONORM), (3, 16, 12)),
    "vgg11 group": (lambda: Vgg11((1, 9, 8), 10, "group", 4), lambda: torch_vgg11(1, group_norm(4)), (1, 9, 8)),
    "resnet20": (lambda: ResNet20((3, 16, 16), 10), lambda: torch_resnet20(3, group_norm(2)), (3, 16, 16)),
    "resnet20 groups": (lambda: ResNet20((1, 9, 8), 10, 8), lambda: torch_resnet20(1, group_norm(8)), (1, 9, 8)),
    "resnet20 evonorm": (
        lambda: ResNet20((1, 9, 8), 10, norm="evonorm"),
        lambda: torch_resnet20(1, EVONORM),
        (1, 9, 8),
    ),
}


@pytest.fixture(params=TWINS)
def twin(request: pytest.FixtureRequest) -> tuple[Task, nn.Module]:
    """A float64 task on small images and the same model in torch.nn, with the same parameters to be set."""
    model, build, input_shape = TWINS[request.param]
    return Task(small_dataset(input_shape), model(), "float64"), build().double()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda: Mlp((1, 8, 8), 10, [64]), 4810),
        # 5 x 5 x 1 x 6 + 6, 5 x 5 x 6 x 16 + 16, 400 x 120 + 120, 120 x 84 + 84, 84 x 10 + 10
        (lambda: LeNet5((1, 28, 28), 10), 156 + 2416 + 48120 + 10164 + 850),
        (lambda: LeNet5((1, 28, 28), 10), 61_706),
        (lambda: LeNet5((3, 32, 32), 10), 62_006),
        # McMahan et al. (2017), section 3, state 1,663,370 for MNIST
        (lambda: SmallCnn((1, 28, 28), 10, padding="same"), 1_663_370),
        # 5 x 5 x 3 x 32 + 32, 5 x 5 x 32 x 64 + 64, 64 x 5 x 5 x 512 + 512, 512 x 10 + 10
        (lambda: SmallCnn((3, 32, 32), 10), 2432 + 51_264 + 819_712 + 5130),
        (lambda: SmallCnn((3, 32, 32), 10), 878_538),
        # what ten clients of FedMRL (without its header of 12,900) and of LG-FedAvg are said to send on CIFAR-100: 8,863.08 and 513.00 thousand
        (lambda: SmallCnn((3, 32, 32), 100), 886_308 - 12_900 + 51_300),
        # He et al. (2016), table 6: 0.27 million; with the two projections 32 x 16 + 64 x 32 and their 2 x (32 + 64) more
        (lambda: ResNet20((3, 32, 32), 10), 269_722 + 32 * 16 + 64 * 32 + 2 * (32 + 64)),
        (lambda: ResNet20((3, 32, 32), 10), 272_474),
        # Aketi and Roy's tables of message sizes
        (lambda: ResNet20((3, 32, 32), 10, norm="evonorm"), 272_474),
        (lambda: ResNet20((3, 32, 32), 100, norm="evonorm"), 278_324),
        # kernels, biases, scales and shifts of 688 maps, the last layer
        (lambda: Vgg11((3, 32, 32), 10), 576_432 + 3 * 688 + 1290),
        (lambda: Vgg11((3, 32, 32), 10), 579_786),
        (lambda: Vgg11((3, 32, 32), 10, "group"), 579_786),
    ],
)
def test_numbers_of_parameters(model: Callable[[], Model], expected: int) -> None:
    built = model()
    assert num_params(built.shapes) == expected
    assert built.initial(np.random.default_rng(1)).shape == (expected,)


def test_unflatten_gives_views_and_flatten_inverts_it() -> None:
    shapes = LeNet((1, 8, 8), 10).shapes
    vector = torch.randn(num_params(shapes), generator=torch.Generator().manual_seed(1))
    tensors = unflatten(vector, shapes)
    assert tuple(tuple(tensor.shape) for tensor in tensors) == shapes
    assert tensors[0].data_ptr() == vector.data_ptr()
    assert torch.equal(flatten(tensors), vector)


def test_forward_and_gradient_equal_torch_nn(twin: tuple[Task, nn.Module]) -> None:
    task, module = twin
    x = task.initial_parameters(np.random.default_rng(2))
    nn.utils.vector_to_parameters(x, module.parameters())
    inputs = torch.tensor(task.dataset.train_inputs)
    logits = module(inputs)
    ours = task.model.forward(unflatten(x, task.model.shapes), inputs.reshape(-1, *task.model.input_shape))
    assert torch.allclose(ours, logits, rtol=0, atol=1e-12)
    assert float(logits.detach().std()) > 0.01

    indices = torch.tensor([3, 7, 1, 0, 20])
    loss = nn.functional.cross_entropy(logits[indices], torch.tensor(task.train_labels)[indices])
    expected = flatten(torch.autograd.grad(loss, list(module.parameters())))
    weights = torch.ones(5, dtype=torch.float64)
    assert torch.allclose(task.gradient(x, indices, weights), expected, rtol=0, atol=1e-12)
    assert torch.allclose(task.sgd_step(x, indices, weights, 0.1), x - 0.1 * expected, rtol=0, atol=1e-12)


def test_evonorm_by_hand() -> None:
    """Eight maps of two pixels, a group each: x = (-3, 3) has x hardsigmoid(x) = (0, 3) and variance 9; (-1, 1) has (-1/3, 2/3) and 1."""
    x = torch.tensor([[-3.0, 3.0], [-1.0, 1.0], *[[0.0, 0.0]] * 6], dtype=torch.float64).reshape(1, 8, 1, 2)
    scale, shift = torch.tensor([1.0, 3.0, *[1.0] * 6]).double(), torch.tensor([0.0, 1.0, *[0.5] * 6]).double()
    y = evonorm(x, scale, shift)[0, :, 0]
    assert y[0].tolist() == pytest.approx([0, 3 / (9 + 1e-5) ** 0.5], abs=1e-15)
    assert y[1].tolist() == pytest.approx([1 - 1 / (1 + 1e-5) ** 0.5, 1 + 2 / (1 + 1e-5) ** 0.5], abs=1e-15)
    assert (y[2:] == 0.5).all()
    moved = x.clone()
    moved[0, 0, 0, 0] = 9.0
    assert torch.equal(evonorm(moved, scale, shift)[0, 1:], evonorm(x, scale, shift)[0, 1:])  # groups of their own


@pytest.mark.parametrize("sides", [(28, 28), (32, 32), (4, 32), (5, 17)])
def test_vgg11_takes_images_up_to_32_pixels(sides: tuple[int, int]) -> None:
    model = Vgg11((1, *sides), 10)
    z = model.representation(unflatten(torch.zeros(num_params(model.shapes)), model.shapes), torch.zeros(2, 1, *sides))
    assert z.shape == (2, 128)


def test_vgg11_starts_with_he_normal_convolutions_and_neutral_normalization() -> None:
    """Relative standard error of a sample variance: sqrt(2 / n); tolerance 4 of them for each of 8 layers."""
    model = Vgg11((3, 32, 32), 10)
    parameters = unflatten(torch.tensor(model.initial(np.random.default_rng(3))), model.shapes)
    for kernel, bias, scale, shift in zip(*(parameters[i:-2:4] for i in range(4)), strict=True):
        assert float(kernel.var()) == pytest.approx(2 / prod(kernel.shape[1:]), rel=4 * np.sqrt(2 / kernel.numel()))
        assert (scale == 1).all()
        assert not any(start.any() for start in (bias, shift))


def test_the_head_of_the_representation_is_the_output_of_the_last_layer(twin: tuple[Task, nn.Module]) -> None:
    task, module = twin
    model, x = task.model, task.initial_parameters(np.random.default_rng(2))
    nn.utils.vector_to_parameters(x, module.parameters())
    inputs = torch.tensor(task.dataset.train_inputs)
    parameters = unflatten(x, model.shapes)
    z = model.representation(parameters, inputs.reshape(-1, *model.input_shape))
    assert z.shape == (len(inputs), model.feature_dim)
    assert isinstance(module, nn.Sequential)
    assert torch.allclose(z, module[:-1](inputs), rtol=0, atol=1e-12)
    assert torch.allclose(model.head(parameters, z), module(inputs), rtol=0, atol=1e-12)


def test_padding_changes_nothing(twin: tuple[Task, nn.Module]) -> None:
    task, _ = twin
    x = task.initial_parameters(np.random.default_rng(2))
    real = task.sgd_step(x, torch.tensor([3, 7]), torch.ones(2, dtype=torch.float64), 0.1)
    weights = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    padded = task.sgd_step(x, torch.tensor([3, 7, 0]), weights, 0.1)
    assert torch.allclose(padded, real, rtol=0, atol=1e-14)
    assert torch.equal(task.sgd_step(x, torch.tensor([3, 7, 0]), torch.zeros(3, dtype=torch.float64), 0.1), x)


def test_metric_says_which_answers_are_right_and_their_cross_entropy(twin: tuple[Task, nn.Module]) -> None:
    task, module = twin
    x = task.initial_parameters(np.random.default_rng(2))
    nn.utils.vector_to_parameters(x, module.parameters())
    logits = module(torch.tensor(task.dataset.test_inputs))
    correct, losses = task.metric(x, task.test_inputs, task.test_labels)
    assert correct.tolist() == [int(a) == int(b) for a, b in zip(logits.argmax(1), task.test_labels, strict=True)]
    expected = nn.functional.cross_entropy(logits, task.test_labels, reduction="none")
    assert torch.allclose(losses, expected, rtol=0, atol=1e-12)


def test_weights_start_with_the_stated_variance() -> None:
    """Sample variance of n normal numbers: relative standard error sqrt(2 / n); tolerance 4 of them."""
    model = Mlp((400,), 50, [300])
    hidden, bias, last, _ = unflatten(torch.tensor(model.initial(np.random.default_rng(3))), model.shapes)
    for weight, variance in ((hidden, 2 / 400), (last, 2 / 350)):
        assert float(weight.var()) == pytest.approx(variance, rel=4 * np.sqrt(2 / weight.numel()))
    assert not bias.any()


def test_resnet20_starts_with_he_normal_convolutions_and_neutral_normalization() -> None:
    """Relative standard error of a sample variance: sqrt(2 / n); tolerance 4 of them for each of 22 layers."""
    model = ResNet20((3, 32, 32), 10)
    parameters = unflatten(torch.tensor(model.initial(np.random.default_rng(3))), model.shapes)
    kernels = [tensor for tensor in parameters if tensor.ndim == 4]
    assert len(kernels) == 21  # 1 + 3 stages x 3 blocks x 2, and 2 projections
    for kernel in kernels:
        variance = 2 / prod(kernel.shape[1:])
        assert float(kernel.var()) == pytest.approx(variance, rel=4 * np.sqrt(2 / kernel.numel()))
    assert float(parameters[-2].var()) == pytest.approx(2 / 74, rel=4 * np.sqrt(2 / 640))
    scales, shifts = parameters[1:-2:3], parameters[2:-2:3]
    assert all((scale == 1).all() for scale in scales)
    assert not any(shift.any() for shift in (*shifts, parameters[-1]))


@pytest.mark.parametrize(("side", "flat"), [(8, 64), (28, 784), (32, 1024)])
def test_lenet_sizes_follow_the_input(side: int, flat: int) -> None:
    model = LeNet((1, side, side), 10)
    assert model.shapes[4] == (120, flat)
    parameters = unflatten(torch.tensor(model.initial(np.random.default_rng(1))), model.shapes)
    assert model.forward(parameters, torch.zeros(2, 1, side, side, dtype=torch.float64)).shape == (2, 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeNet5((1, 30, 30), 10), "input_shape = .*needs images of 28 x 28 or 32 x 32"),
        (lambda: LeNet5((1, 28, 32), 10), "input_shape = "),
        (lambda: LeNet5((784,), 10), "input_shape = "),
        (lambda: SmallCnn((1, 15, 32), 10), "input_shape = .*sides of at least 16"),
        (lambda: SmallCnn((1, 3, 32), 10, padding="same"), "input_shape = .*sides of at least 4"),
        (lambda: SmallCnn((1, 28, 28), 10, maps=(0, 4)), "maps = "),
        (lambda: SmallCnn((1, 28, 28), 10, feature_dim=0), "feature_dim = 0: at least 1"),
        (lambda: SmallCnn((1, 28, 28), 10, padding="full"), "padding = 'full': one of valid, same"),  # type: ignore[arg-type]
        (lambda: ResNet20((1, 3, 32), 10), "input_shape = .*sides of at least 4"),
        (lambda: ResNet20((1, 32, 32), 10, groups=3), "groups = 3: a divisor of 16"),
        (lambda: ResNet20((1, 32, 32), 10, norm="batch"), "norm = 'batch': one of group, evonorm"),  # type: ignore[arg-type]
        (lambda: Vgg11((3, 33, 32), 10), "input_shape = .*sides of 4 to 32 pixels"),
        (lambda: Vgg11((64,), 10), "input_shape = "),
    ],
)
def test_models_refuse_what_they_cannot_be_built_for(make: Callable[[], Model], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("shape", [(1, 3, 8), (64,), (0, 8, 8)])
def test_lenet_refuses_inputs_without_room(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="input_shape = "):
        LeNet(shape, 10)


def test_mlp_refuses_an_empty_layer() -> None:
    with pytest.raises(ValueError, match="at least 1 unit"):
        Mlp((64,), 10, [0])


def test_task_refuses_an_unknown_dtype_and_a_wrong_number_of_classes() -> None:
    with pytest.raises(ValueError, match="dtype = 'float8'"):
        Task(small_dataset((8,)), Mlp((8,), 10), "float8")
    with pytest.raises(ValueError, match="model has 3 classes"):
        Task(small_dataset((8,)), Mlp((8,), 3))


def test_the_op_counts_the_multiplications_of_training() -> None:
    """Batch 16: forward 2*16*(64*64 + 64*10); backward the same for the weights and 2*16*64*10 for the hidden layer."""
    task = Task(small_dataset((1, 8, 8)), Mlp((1, 8, 8), 10))
    x = task.initial_parameters(np.random.default_rng(2))
    flops = task.sgd_step.flops(x, torch.zeros(16, dtype=torch.int64), torch.ones(16), 0.1)
    assert flops == 2 * 2 * 16 * (64 * 64 + 64 * 10) + 2 * 16 * 64 * 10


@pytest.mark.parametrize("make_model", [Mlp, LeNet])
def test_bytes_stand_for_normalized_numbers(make_model: type) -> None:
    """(pixel / 255 - mean) / std, by channel; only the samples of a batch become numbers."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (24, 3, 8, 8), dtype=np.uint8)
    labels = np.arange(24) % 10
    mean, std = np.array([0.2, 0.5, 0.4]), np.array([0.25, 0.2, 0.3])
    values = (pixels / 255 - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
    model = make_model((3, 8, 8), 10)
    bytes_task = Task(Dataset("bytes", pixels, labels, pixels[:12], labels[:12], 10, mean, std), model, "float64")
    float_task = Task(Dataset("floats", values, labels, values[:12], labels[:12], 10), model, "float64")
    assert bytes_task.test_inputs.dtype == torch.uint8
    assert bytes_task.test_inputs.data_ptr() == pixels.ctypes.data
    prepared = bytes_task.samples.prepared(bytes_task.test_inputs)
    assert torch.allclose(prepared, float_task.test_inputs, rtol=0, atol=1e-14)
    assert bytes_task.samples.prepared(prepared) is prepared

    x = bytes_task.initial_parameters(np.random.default_rng(2))
    batch = torch.tensor([3, 7, 1, 0, 20]), torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    g = float_task.gradient(x, *batch)
    assert torch.allclose(bytes_task.gradient(x, *batch), g, rtol=0, atol=1e-12)
    assert bytes_task.gradient.flops(x, *batch) == float_task.gradient.flops(x, *batch)
    correct, losses = float_task.metric(x, float_task.test_inputs, float_task.test_labels)
    found = bytes_task.metric(x, bytes_task.test_inputs, bytes_task.test_labels)
    assert torch.equal(found[0], correct)
    assert torch.allclose(found[1], losses, rtol=0, atol=1e-12)
    assert torch.equal(bytes_task.metric(x, prepared, bytes_task.test_labels)[1], found[1])


LENET5_MACS = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10
SMALL_CNN_MACS = 28 * 28 * 32 * 75 + 10 * 10 * 64 * 800 + 1600 * 512 + 512 * 10
VGG11_MACS = (
    32 * 32 * 16 * 27
    + 16 * 16 * 32 * 144
    + 8 * 8 * (64 * 288 + 64 * 576)
    + 4 * 4 * (128 * 576 + 128 * 1152)
    + 2 * 2 * 2 * 128 * 1152
    + 128 * 10
)
RESNET20_MACS = (
    32 * 32 * (16 * 27 + 6 * 16 * 144)  # the first layer and 6 of 16 maps
    + 16 * 16 * (32 * 144 + 5 * 32 * 288 + 32 * 16)  # 6 layers of 32 maps and a projection
    + 8 * 8 * (64 * 288 + 5 * 64 * 576 + 64 * 32)  # of 64 maps
    + 64 * 10
)


@pytest.mark.parametrize(
    ("model", "macs", "first"),
    [
        (LeNet5((1, 28, 28), 10), LENET5_MACS, 28 * 28 * 6 * 25),
        (SmallCnn((3, 32, 32), 10), SMALL_CNN_MACS, 28 * 28 * 32 * 75),
        (Vgg11((3, 32, 32), 10), VGG11_MACS, 32 * 32 * 16 * 27),
        (ResNet20((3, 32, 32), 10), RESNET20_MACS, 32 * 32 * 16 * 27),
    ],
)
def test_flops_of_convolutional_models_equal_hand_formulas(model: Model, macs: int, first: int) -> None:
    """Forward 2 FLOPs a multiplication; backward twice that, but for the inputs' gradient of the first layer. LeNet-5:
    416,520 multiplications a sample; ResNet-20: 40.8 million, 82 MFLOP (twice the multiplications)."""
    task = Task(small_dataset(model.input_shape, num_samples=4), model)
    x = task.initial_parameters(np.random.default_rng(2))
    assert task.metric.flops(x, task.test_inputs, task.test_labels) == 2 * macs * len(task.test_labels)
    indices, weights = torch.zeros(4, dtype=torch.int64), torch.ones(4)
    assert task.sgd_step.flops(x, indices, weights, 0.1) == 4 * (3 * 2 * macs - 2 * first)


def test_the_hand_formulas_are_the_known_ones() -> None:
    assert LENET5_MACS == 416_520
    assert SMALL_CNN_MACS == 7_825_920
    assert VGG11_MACS == pytest.approx(9.9e6, rel=2e-3)
    assert RESNET20_MACS == pytest.approx(40.8e6, rel=1e-3)
