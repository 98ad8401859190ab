"""Are `channels` and `learners` ours? Both names are also used by others: Django Channels is imported as `channels`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from wsim.errors import WsimError

HOME = Path(__file__).resolve().parent.parent


class PackageError(WsimError, ImportError):
    """A package of this name is installed that is not wsim's own."""


def check_packages() -> None:
    """Raise PackageError, one line, unless both packages lie beside wsim. Imports neither."""
    for name in ("channels", "learners"):
        spec = find_spec(name)
        if spec is None:
            raise PackageError(f"package {name} is missing beside wsim in {HOME}: install wsim again")
        places = [Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin or ""]]
        if places != [HOME / name]:
            found = ", ".join(str(place) for place in places)
            says = f"package {name} at {found} is not wsim's own, which is in {HOME}"
            raise PackageError(f"{says}: another package of that name comes first; give wsim an environment of its own")
