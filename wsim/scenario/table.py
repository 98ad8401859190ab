"""The base of every table of a scenario: frozen, strict about types, and without unknown keys."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class Table(BaseModel):
    """One table. Attribute names are the keys of the TOML file.

    `shorthand`: the key that a bare string stands for: `fading = "rayleigh"` means `fading = { kind = "rayleigh" }`.
    Keys that only another `kind` uses are allowed and ignored: one override then switches the kind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
    shorthand: ClassVar[str | None] = None

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, data: Any) -> Any:
        if cls.shorthand is not None and isinstance(data, str):
            return {cls.shorthand: data}
        return data
