"""Which package may import what, and what no package may call.

    wsim -> channels (numpy, scipy)
    wsim -> learners (torch)            no arrow points back, and neither of the two knows the other

Imports and calls are read from the syntax tree, so that a late import inside a function counts too; fresh interpreters
then check the same for what the imports pull in.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ALLOWED_IMPORTS = {
    "channels": {"channels", "numpy", "scipy"},
    "learners": {"learners", "torch", "numpy", "scipy", "networkx", "sklearn", "pooch", "requests"},
    "wsim": {"wsim", "channels", "learners", "simpy", "h5py", "numpy", "scipy", "networkx", "pydantic", "pydantic_core"}
    | {"typer", "click", "rich", "matplotlib", "pandas", "xarray"},
}
FORBIDDEN_STANDARD_LIBRARY = {
    "pickle": "runs code when it reads",
    "shelve": "runs code when it reads",
    "marshal": "may crash the interpreter when it reads",
    "random": "is a global generator",
}
FORBIDDEN_CALLS = {
    "eval": "runs what was parsed",
    "exec": "runs what was parsed",
    "__import__": "hides an import",
    "yaml.load": "runs code when it reads",
    "yaml.unsafe_load": "runs code when it reads",
    "yaml.full_load": "runs code when it reads",
    "torch.manual_seed": "sets the global generator",
    "torch.seed": "sets the global generator",
    "torch.set_rng_state": "sets the global generator",
    "os.urandom": "cannot be repeated",
}
NAMED_AT_RUN_TIME = "a module named at run time"
MAY_NAME_AT_RUN_TIME = {  # both take the name from a table of their own, which a test below reads
    "learners/registry.py",
    "wsim/__init__.py",
}
OWN_GENERATORS = {"Generator", "BitGenerator", "SeedSequence", "PCG64", "PCG64DXSM", "Philox", "SFC64", "MT19937"}
TORCH_DRAWS = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like"} | {
    "normal", "bernoulli", "multinomial", "poisson", "dropout", "alpha_dropout", "feature_dropout", "gumbel_softmax",
}  # fmt: skip
TORCH_MODULES_THAT_DRAW = {"Linear", "Bilinear", "Conv1d", "Conv2d", "Conv3d", "Embedding", "RNN", "LSTM", "GRU"} | {
    "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "MultiheadAttention", "Dropout", "Dropout2d",
}  # fmt: skip
DRAWS_IN_PLACE = {"normal_", "uniform_", "bernoulli_", "exponential_", "random_", "geometric_", "cauchy_"} | {
    "log_normal_",
}


def names_in_scope(tree: ast.Module) -> dict[str, str]:
    """Local name -> full dotted name, from every import statement of the file."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def full_name(function: ast.expr, names: dict[str, str]) -> str:
    """The dotted name of what is called, with import aliases resolved; "" for what is no plain name."""
    attributes: list[str] = []
    while isinstance(function, ast.Attribute):
        attributes.append(function.attr)
        function = function.value
    if not isinstance(function, ast.Name):
        return ""
    return ".".join([names.get(function.id, function.id), *reversed(attributes)])


def imported_modules(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, those by importlib with a constant name included."""
    names = names_in_scope(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and full_name(node.func, names) == "importlib.import_module":
            argument = node.args[0] if node.args else None
            known = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            yield node.lineno, argument.value if known else NAMED_AT_RUN_TIME


def call_complaint(call: ast.Call, names: dict[str, str]) -> str | None:
    """Why this call has no place in the packages, or None."""
    name = full_name(call.func, names)
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    last = name.rsplit(".", 1)[-1]
    if name in FORBIDDEN_CALLS:
        return f"{name} {FORBIDDEN_CALLS[name]}"
    if name == "torch.load" and getattr(keywords.get("weights_only"), "value", None) is not True:
        return "torch.load without weights_only=True runs code when it reads"
    if name == "numpy.load" and (len(call.args) > 2 or "allow_pickle" in keywords):
        if getattr(keywords.get("allow_pickle"), "value", None) is not False:
            return "numpy.load with allow_pickle runs code when it reads"
    if name.startswith("numpy.random."):
        if last == "default_rng":
            return None if call.args or keywords else "numpy.random.default_rng without a seed cannot be repeated"
        return None if last in OWN_GENERATORS else f"{name} draws from the global generator"
    if name.startswith("torch.") and "generator" not in keywords:
        if last in TORCH_DRAWS or name.startswith(("torch.nn.init.", "torch.random.")):
            return f"{name} draws from the global generator"
        if name.startswith("torch.nn.") and last in TORCH_MODULES_THAT_DRAW:
            if getattr(keywords.get("device"), "value", None) != "meta":
                return f"{name} draws its weights or masks from the global generator"
    if isinstance(call.func, ast.Attribute) and call.func.attr in DRAWS_IN_PLACE and "generator" not in keywords:
        return f".{call.func.attr} draws from the global generator"
    return None


def complaints(source: str, package: str) -> list[str]:
    """What is wrong with one file of `package`, each as "line: what"."""
    tree = ast.parse(source)
    found = []
    for line, module in imported_modules(tree):
        top = module.split(".")[0]
        if top in FORBIDDEN_STANDARD_LIBRARY:
            found.append(f"{line}: {top} {FORBIDDEN_STANDARD_LIBRARY[top]}")
        elif top not in sys.stdlib_module_names and top not in ALLOWED_IMPORTS[package]:
            found.append(f"{line}: {package} must not import {module}")
    names = names_in_scope(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found += [f"{call.lineno}: {why}" for call in calls if (why := call_complaint(call, names))]
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED_IMPORTS))
def test_package_keeps_to_its_layer(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths, f"no files in {ROOT / package}"
    found = []
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        for what in complaints(path.read_text("utf-8"), package):
            if not (name in MAY_NAME_AT_RUN_TIME and what.endswith(NAMED_AT_RUN_TIME)):
                found.append(f"{name}:{what}")
    assert not found, "\n".join(found)


def test_names_imported_at_run_time_stay_in_the_package() -> None:
    from learners.registry import REGISTRIES
    from wsim import _HOMES

    assert {entry.split(".")[0] for entries in REGISTRIES.values() for entry in entries.values()} == {"learners"}
    assert {home.split(".")[0] for home in _HOMES.values()} == {"wsim"}


@pytest.mark.parametrize(
    ("package", "source", "expected"),
    [
        ("channels", "import torch", "channels must not import torch"),
        (
            "channels",
            "def f():\n    from learners.protocol import Send",
            "2: channels must not import learners.protocol",
        ),
        ("channels", "import wsim.clock", "channels must not import wsim.clock"),
        ("learners", "from wsim import clock", "learners must not import wsim"),
        ("learners", "import channels", "learners must not import channels"),
        ("learners", "import simpy", "learners must not import simpy"),
        ("learners", "import h5py as h5", "learners must not import h5py"),
        ("wsim", "import torch.nn as nn", "wsim must not import torch.nn"),
        ("wsim", "import importlib\nimportlib.import_module('torch')", "2: wsim must not import torch"),
        ("wsim", "from importlib import import_module as load\nload(name)", "a module named at run time"),
        ("wsim", "import pickle", "pickle runs code"),
        ("wsim", "import random", "random is a global generator"),
        ("wsim", "eval('1')", "eval runs"),
        ("wsim", "exec(text)", "exec runs"),
        ("learners", "import torch\ntorch.load(path)", "torch.load without weights_only"),
        ("learners", "import torch\ntorch.load(path, weights_only=False)", "torch.load without weights_only"),
        ("wsim", "import numpy as np\nnp.load(path, allow_pickle=True)", "numpy.load with allow_pickle"),
        ("wsim", "import numpy as np\nnp.load(path, None, flag)", "numpy.load with allow_pickle"),
        ("channels", "import numpy as np\nnp.random.seed(1)", "numpy.random.seed draws"),
        ("channels", "from numpy import random\nrandom.rand(3)", "numpy.random.rand draws"),
        ("channels", "import numpy as np\nnp.random.default_rng()", "default_rng without a seed"),
        ("learners", "import torch\ntorch.manual_seed(1)", "torch.manual_seed sets"),
        ("learners", "import torch\ntorch.rand(3)", "torch.rand draws"),
        ("learners", "from torch.nn.functional import dropout\ndropout(x, 0.5)", "dropout draws"),
        ("learners", "from torch import nn\nnn.init.normal_(w)", "torch.nn.init.normal_ draws"),
        ("learners", "from torch import nn\nnn.Linear(4, 4)", "torch.nn.Linear draws"),
        ("learners", "x.clone().normal_()", ".normal_ draws"),
    ],
)
def test_checker_finds(package: str, source: str, expected: str) -> None:
    assert any(expected in what for what in complaints(source, package)), complaints(source, package)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("channels", "import numpy as np\nfrom scipy.special import j0\nrng = np.random.default_rng(7)\nrng.random(3)"),
        ("channels", "from numpy.random import PCG64, Generator\nGenerator(PCG64(3)).normal()"),
        ("learners", "import torch\ntorch.load(path, weights_only=True)\nmodel.eval()\nre.compile('x')"),
        ("learners", "import torch\ntorch.randn(3, generator=g)\nx.normal_(generator=g)\ntorch.zeros(3)"),
        ("learners", "from torch import nn\nnn.Linear(4, 4, device='meta')"),
        ("wsim", "import numpy as np\nnp.load(path)\nnp.load(path, allow_pickle=False)\nimport simpy, h5py"),
        ("wsim", "from . import clock\nfrom learners.protocol import Send"),
    ],
)
def test_checker_accepts(package: str, source: str) -> None:
    assert complaints(source, package) == []


def loaded_by(statement: str, *packages: str) -> set[str]:
    """Which of `packages` a fresh interpreter has loaded after `statement`."""
    program = f"import sys\n{statement}\nprint(*(set(sys.modules) & {set(packages)!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def import_all(package: str) -> str:
    """Statements that import every module of a package."""
    paths = sorted((ROOT / package).rglob("*.py"))
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return "\n".join(f"import {module.removesuffix('.__init__')}" for module in modules)


def test_command_line_starts_without_torch() -> None:
    assert loaded_by("import wsim.cli", "torch", "sklearn", "matplotlib") == set()


def test_channels_load_nothing_but_arrays() -> None:
    assert loaded_by(import_all("channels"), "torch", "simpy", "h5py", "learners", "wsim") == set()


def test_learners_load_no_simulator() -> None:
    assert loaded_by(import_all("learners"), "simpy", "h5py", "channels", "wsim") == set()


def test_loaded_by_notices() -> None:
    assert loaded_by("import json", "json", "torch") == {"json"}
