"""Models: flat parameters, shapes, and torch.nn twins."""

import numpy as np
import pytest
import torch
from torch import nn

from learners.data.dataset import Dataset
from learners.models.flat import flatten, num_params, unflatten
from learners.models.lenet import LeNet
from learners.models.mlp import Mlp
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


TWINS = {"mlp": (Mlp((1, 8, 8), 10), torch_mlp), "lenet": (LeNet((1, 8, 8), 10), torch_lenet)}


@pytest.fixture(params=TWINS)
def twin(request: pytest.FixtureRequest) -> tuple[Task, nn.Module]:
    """A float64 task on 8 x 8 images and the same model in torch.nn, with the same parameters to be set."""
    model, build = TWINS[request.param]
    return Task(small_dataset((1, 8, 8)), model, "float64"), build().double()


def test_mlp_64_64_10_has_4810_parameters() -> None:
    assert num_params(Mlp((1, 8, 8), 10, [64]).shapes) == 4810


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

    indices = torch.tensor([3, 7, 1, 0, 20])
    loss = nn.functional.cross_entropy(logits[indices], torch.tensor(task.train_labels)[indices])
    expected = flatten(torch.autograd.grad(loss, list(module.parameters())))
    weights = torch.ones(5, dtype=torch.float64)
    assert torch.allclose(task.gradient(x, indices, weights), expected, rtol=0, atol=1e-12)
    assert torch.allclose(task.sgd_step(x, indices, weights, 0.1), x - 0.1 * expected, rtol=0, atol=1e-12)


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


@pytest.mark.parametrize(("side", "flat"), [(8, 64), (28, 784), (32, 1024)])
def test_lenet_sizes_follow_the_input(side: int, flat: int) -> None:
    model = LeNet((1, side, side), 10)
    assert model.shapes[4] == (120, flat)
    parameters = unflatten(torch.tensor(model.initial(np.random.default_rng(1))), model.shapes)
    assert model.forward(parameters, torch.zeros(2, 1, side, side, dtype=torch.float64)).shape == (2, 10)


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
