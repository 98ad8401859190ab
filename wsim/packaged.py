"""The scenarios that come with wsim: `wsim run quickstart` works wherever it is installed.

A checkout has them in scenarios/; a wheel has the same files inside the package (pyproject.toml puts them there).
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from wsim.errors import ScenarioError

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent / "scenarios"
INSTALLED = HERE / "packaged_scenarios"


def scenarios() -> dict[str, Path]:
    """Their files by name, in alphabetical order; those of the radio, of studies and of papers, in folders of their own, come last."""
    folder = INSTALLED if INSTALLED.is_dir() else CHECKOUT
    files = [path for place in ("", "radio/", "studies/", "papers/") for path in sorted(folder.glob(f"{place}*.toml"))]
    return {path.stem: path for path in files}


def find(file: str | Path) -> Path:
    """The scenario file that is meant: the one at this path, else the one of this name that comes with wsim.

    Only a bare word is a name. Raises ScenarioError for one that is neither.
    """
    path = Path(file)
    if path.name != str(file) or path.suffix or path.exists() or not path.name:
        return path
    known = scenarios()
    if path.name not in known:
        near = get_close_matches(path.name, known, n=1)
        hint = f" ({near[0]}?)" if near else ""
        says = f"no such file, and no scenario of this name comes with wsim{hint}, known: {', '.join(known)}"
        raise ScenarioError(f"{path.name}: {says}")
    return known[path.name]


def summary(path: Path) -> str:
    """The first line of the comment that opens a scenario; a `#:schema` line before it is for editors."""
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("#:"):
            return line.lstrip("# ").strip()
    return ""
