"""Scenarios on data files: relative names, one line for what is wrong, equal seeds."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.contract.worlds import LEARNERS, calm, has_key
from tests.learners import data_files
from wsim import cli
from wsim.engine import Run, simulate
from wsim.errors import DataError, ScenarioError
from wsim.results import content_digest
from wsim.scenario import load

SCENARIO = """
scenario = {{ name = "pictures", seed = 1 }}
stop = {{ rounds = 2 }}
area = {{ shape = "square", side_m = 100.0 }}
data = {{ {data} }}
model = {{ name = "mlp", hidden = [8] }}
topology = "ring"
devices = [ {{ name = "phones", count = 4, compute = {{ effective_flops = 1e9 }}, radio = {{ tx_power_dbm = 20.0 }} }} ]
channel = {{ carrier_hz = 3.5e9, bandwidth_hz = 20e6 }}
mac = {{ kind = "ideal", broadcast_reach = 1.0 }}
algorithm = {{ name = "dpsgd", learning_rate = 0.1, batch_size = 4, local_steps = 2 }}
"""


@pytest.fixture(autouse=True)
def _small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    data_files.shrink(monkeypatch)
    monkeypatch.delenv("WSIM_DATA", raising=False)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")  # restores what the command line sets


def scenario(folder: Path, data: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pictures.toml"
    path.write_text(SCENARIO.format(data=data))
    return path


def test_a_relative_name_starts_where_the_scenario_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_files.put(tmp_path / "data" / "mnist", data_files.mnist_files(), zipped=True)
    np.savez(tmp_path / "my.npz", inputs=np.random.default_rng(1).random((40, 3)), labels=np.arange(40) % 2)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for data in ('name = "mnist", folder = "../data"', 'name = "npz", file = "../my.npz", test_fraction = 0.2'):
        loaded = load(scenario(tmp_path / "scenarios", data))
        record = simulate(loaded)
        assert record.accuracy[-1] >= 0
        assert "tmp" not in str(loaded.scenario.data), "a result does not depend on where the files lie"


def test_a_result_finds_the_data_of_its_scenario_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "my.npz", inputs=np.random.default_rng(1).random((40, 3)), labels=np.arange(40) % 2)
    scenario(tmp_path / "scenarios", 'name = "npz", file = "../my.npz", test_fraction = 0.2')
    monkeypatch.chdir(tmp_path)
    assert cli.execute(["run", "scenarios/pictures.toml", "--quiet", "--out", "one.h5"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli.execute(["run", "../one.h5", "--quiet", "--out", "two.h5"]) == 0
    assert content_digest("../one.h5") == content_digest("two.h5")


def test_equal_seeds_give_equal_results_and_a_partition_divides_the_samples_used(tmp_path: Path) -> None:
    data_files.put(tmp_path / "mnist", data_files.mnist_files())
    path = scenario(tmp_path, 'name = "mnist", folder = ".", train_samples = 30, partition = "dirichlet", alpha = 0.5')
    first, second, other = (Run(load(path, seed=seed), "batched", None, None, None, None) for seed in (1, 1, 2))
    assert sorted(np.concatenate(first.learning.parts)) == list(range(30))
    first.go()
    second.go()
    assert first.record().accuracy.tolist() == second.record().accuracy.tolist()
    chosen = [run.learning.task.dataset.train_inputs for run in (first, second, other)]
    assert np.array_equal(chosen[0], chosen[1])
    assert not np.array_equal(chosen[0], chosen[2])


def test_executors_agree_on_bytes(tmp_path: Path) -> None:
    """Rounding may turn a near-tie of one of the 20 test samples."""
    data_files.put(tmp_path / "mnist", data_files.mnist_files())
    path = scenario(tmp_path, 'name = "mnist", folder = "."')
    batched, eager = (simulate(load(path), executor=executor).accuracy for executor in ("batched", "eager"))
    assert batched == pytest.approx(eager, abs=1 / 20 + 1e-6)
    estimate = simulate(load(path), executor="null")
    assert np.isnan(estimate.accuracy).all()


@pytest.mark.parametrize(
    ("data", "damage", "message"),
    [
        ('name = "mnist", folder = "nowhere"', "", r"[data]: folder = '{folder}/nowhere': there is no such folder"),
        ('name = "mnist", folder = "."', "missing", "t10k-images-idx3-ubyte of mnist is missing"),
        ('name = "mnist", folder = "."', "corrupt", "t10k-images-idx3-ubyte.gz: damaged or cut off"),
        (
            'name = "mnist", folder = ".", train_samples = 41',
            "",
            "[data] train_samples = 41: mnist has 40 such samples",
        ),
        ('name = "mnist", folder = ".", normalise = "unit"', "", "[data] normalise"),
        ('name = "mnist", folder = ".", normalize = "batch"', "", '"channel" or "unit"'),
        ('name = "mnst"', "", "[data] name"),
        ('name = "npz"', "", "[data] file: this key is missing"),
        ('name = "npz", file = "my.npz"', "", "my.npz: cannot be read: No such file"),
        ('name = "cifar100_subset"', "", "name the folder that holds train.bin ... or"),
        ('name = "mnist"', "", "by the key folder or the environment variable WSIM_DATA"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    data: str, damage: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{name}.gz": gzip.compress(content) for name, content in data_files.mnist_files().items()}
    if damage == "missing":
        del files["t10k-images-idx3-ubyte.gz"]
    elif damage == "corrupt":
        files["t10k-images-idx3-ubyte.gz"] = files["t10k-images-idx3-ubyte.gz"][:-100]
    data_files.put(tmp_path / "mnist", files)
    path = scenario(tmp_path, data)
    assert cli.execute(["run", str(path), "--out", str(tmp_path / "out.h5"), "--quiet"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert message.format(folder=tmp_path) in printed.err
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("name", [name for name in LEARNERS if has_key(name, "augmentation")])
def test_augmentation_without_images_is_refused_when_the_scenario_is_read(name: str) -> None:
    with pytest.raises(
        ScenarioError, match=r"\[algorithm\] augmentation = \"crop_flip\": needs images, .* shape \(8,\)"
    ):
        calm(name, "algorithm.augmentation=crop_flip")


def test_augmentation_without_images_is_one_line_where_their_shape_is_known_late(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "my.npz", inputs=np.random.default_rng(1).random((40, 3)), labels=np.arange(40) % 2)
    path = scenario(tmp_path, 'name = "npz", file = "my.npz", test_fraction = 0.2')
    assert cli.execute(["run", str(path), "--quiet", "--set", "algorithm.augmentation=crop_flip"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pictures [algorithm] augmentation = 'crop_flip': needs images, samples have the shape (3,)" in line


def test_a_model_that_does_not_suit_the_data_is_blamed_itself(tmp_path: Path) -> None:
    np.savez(tmp_path / "my.npz", inputs=np.random.default_rng(1).random((40, 3)), labels=np.arange(40) % 2)
    path = scenario(tmp_path, 'name = "npz", file = "my.npz", test_fraction = 0.2')
    with pytest.raises(DataError, match=r"pictures \[model\]: .*needs images"):
        simulate(load(path, ["model.name=lenet"]))
