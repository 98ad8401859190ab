"""Are `channels` and `learners` ours? Both names are also used by others: Django Channels is imported as `channels`.

Another package of the name may come first on the path; or pip has put both into one folder, where the files of one have
replaced some of the other's.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from wsim.errors import WsimError

HOME = Path(__file__).resolve().parent.parent
MARK = '__part_of__ = "wsim"'  # begins a line of both __init__.py
REMEDY = "give wsim an environment of its own"


class PackageError(WsimError, ImportError):
    """A package of this name is installed that is not wsim's own."""


def check_packages() -> None:
    """Raise PackageError, one line, unless both packages lie beside wsim and are its own. Imports neither."""
    for name in ("channels", "learners"):
        spec = find_spec(name)
        if spec is None:
            raise PackageError(f"package {name} is missing beside wsim in {HOME}: install wsim again")
        places = [Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin or ""]]
        if places != [HOME / name]:
            found = ", ".join(str(place) for place in places)
            says = f"package {name} at {found} is not wsim's own, which is in {HOME}"
            raise PackageError(f"{says}: another package of that name comes first; {REMEDY}")
        rival = _sharing(name)
        if rival is not None or not _is_marked(HOME / name / "__init__.py"):
            other = f"the distribution {rival} has" if rival is not None else "another distribution has, or had,"
            says = f"package {name} in {HOME}: {other} files in the same folder as wsim"
            raise PackageError(f"{says}; {REMEDY}")


def _is_marked(init: Path) -> bool:
    try:
        return any(line.startswith(MARK) for line in init.read_text("utf-8").splitlines())
    except (OSError, ValueError):
        return False


def _sharing(name: str) -> str | None:
    """Name and version of an installed distribution of this name whose files lie in HOME / name."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    inside = (Path(str(found.locate_file(file))).resolve() for file in found.files or () if file.parts[0] == name)
    return f"{found.name} {found.version}" if any(HOME / name in path.parents for path in inside) else None
