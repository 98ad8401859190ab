"""[data] views: every device trains and is tested on its own crop of what it is dealt."""

from __future__ import annotations

import numpy as np
import pytest

from learners.data.views import seen
from tests.contract.recording import record, value_of
from tests.contract.worlds import calm
from wsim.engine import simulate
from wsim.errors import ScenarioError
from wsim.learning import Learning
from wsim.scenario import Loaded
from wsim.streams import Streams

CORNERS = [(0, 0), (3, 0), (0, 3), (2, 1)]
VIEWS = "{size = 5, corners = [[0, 0], [3, 0], [0, 3], [2, 1]]}"


def scenario(*overrides: str, data: str = f'name = "digits", partition = "everything", views = {VIEWS}') -> Loaded:
    return calm("dpsgd", f"data={{{data}}}", "devices.0.count=6", "stop.rounds=1", *overrides)


def learning_of(loaded: Loaded) -> Learning:
    return Learning(loaded.scenario, Streams(1), "eager", None)


@pytest.mark.parametrize("partition", ["everything", "iid"])
def test_device_i_has_view_i_of_what_it_is_dealt(partition: str) -> None:
    """Six devices, four views; pixel by pixel against slices of the whole images, in training and in test."""
    keys = f'name = "digits", partition = "{partition}"'
    whole = learning_of(scenario(data=keys))
    views = learning_of(scenario('evaluation.data=["own_view"]', data=f"{keys}, views = {VIEWS}"))
    images, test = whole.task.samples, views.task.samples
    for i in range(6):
        row, column = CORNERS[i % 4]
        crop = (slice(None), slice(None), slice(row, row + 5), slice(column, column + 5))
        assert len(views.parts[i]) == len(whole.parts[i])
        assert (test.train_inputs[views.parts[i]] == images.train_inputs[whole.parts[i]][crop]).all()
        assert (test.train_labels[views.parts[i]] == images.train_labels[whole.parts[i]]).all()
        rows = views.own_samples["own_view"][i]
        assert (test.test_inputs[rows] == images.test_inputs[crop]).all()
        assert (test.test_labels[rows] == images.test_labels).all()
    assert (len(whole.parts[0]) == len(images.train_labels)) == (partition == "everything")


def test_accuracy_on_the_own_view() -> None:
    """As a model says of a device's rows; over all views it is the mean of them."""
    run, recording = record(scenario('evaluation.data=["own_view", "global_test"]', 'evaluation.over_devices=["mean"]'))
    learning = learning_of(scenario())
    task, accuracies = learning.task, []
    num_test = len(task.test_labels) // 4
    models = {node: value_of(value) for node, name, value in recording.reported if name == "model"}
    for i, x in sorted(models.items()):
        correct, _ = task.metric(x, task.test_inputs, task.test_labels)
        accuracies.append([float(part.double().mean()) for part in correct.view(4, num_test)])
        assert run.series_accuracy_by_device[run.series_data.index("own_view")][-1][i] == pytest.approx(
            accuracies[i][i % 4]
        )
    of_all = run.series_accuracy_by_device[run.series_data.index("global_test")][-1]
    assert of_all == pytest.approx(np.mean(accuracies, axis=1))


@pytest.mark.parametrize(
    ("data", "overrides", "says"),
    [
        (
            'name = "digits", views = {size = 5, corners = [[0, 0], [4, 0]]}',
            [],
            r"\[data\] views: 5 x 5 pixels at \[4, 0\] do not fit into images of 8 x 8",
        ),
        ('name = "digits", views = {size = 9, corners = [[0, 0]]}', [], "views: 9 x 9 pixels at"),
        ('name = "digits", views = {size = 0, corners = [[0, 0]]}', [], "data.*size = 0: pixels are whole numbers"),
        ('name = "digits", views = {size = 5, corners = []}', [], "views.*corners"),
        ('name = "gaussian_mixture", views = {size = 2, corners = [[0, 0]]}', [], "views: are crops of images"),
        (
            f'name = "digits", public_fraction = 0.2, views = {VIEWS}',
            [],
            "public_fraction = 0.2: public samples have no view",
        ),
        (
            'name = "digits"',
            ['evaluation.data=["own_view"]'],
            r'\[evaluation\] data.0 = "own_view": needs \[data\] views',
        ),
    ],
)
def test_views_that_cannot_be_are_refused_in_one_line(data: str, overrides: list[str], says: str) -> None:
    with pytest.raises(ScenarioError, match=says) as error:
        scenario(*overrides, data=data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("basis_dim=13", r"\[algorithm\] basis_dim = 13: representations have 12 dimensions; at most 12"),
        ("joint_dim=13", r"\[algorithm\] joint_dim = 13: representations have 12 dimensions; at most 12"),
        ("joint_dim=1", "joint_dim = 1: at least basis_dim = 2"),
    ],
)
def test_subspaces_that_do_not_fit_are_refused_in_one_line(key: str, says: str) -> None:
    keys = [f"algorithm.{key}", *(["algorithm.joint_dim=20"] if key == "basis_dim=13" else [])]
    with pytest.raises(ScenarioError, match=says) as error:
        simulate(calm("compositional_mcr2", *keys))
    assert "\n" not in str(error.value)


def test_a_scenario_without_views_says_nothing_of_them() -> None:
    assert "views" not in scenario(data='name = "digits"').scenario.resolved()["data"]
    assert [part.tolist() for part in seen([np.array([0, 2])] * 3, 5, 2)] == [[0, 2], [5, 7], [0, 2]]
