"""The base of every table of a scenario: frozen, strict about types, and without unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Table(BaseModel):
    """One table. Attribute names are the keys of the TOML file.

    `shorthand`: the key that a bare string stands for: `fading = "rayleigh"` means `fading = { kind = "rayleigh" }`.
    Keys that only another `kind` uses are allowed and ignored: one override then switches the kind. (Of an `ItemTable` only where the
    scenario names that kind somewhere, see `wsim.scenario.mentions`.)
    A key that may be left out takes "none" for that, so that an arm of a study can take away what the base has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
    shorthand: ClassVar[str | None] = None

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, data: Any) -> Any:
        if cls.shorthand is not None and isinstance(data, str):
            return {cls.shorthand: data}
        if isinstance(data, dict) and "none" in (value for value in data.values() if isinstance(value, str)):
            return {key: None if value == "none" and cls._may_be_none(key) else value for key, value in data.items()}
        return data

    @classmethod
    def _may_be_none(cls, key: str) -> bool:
        """Whether None, and no text, is among what the key takes."""
        field = cls.model_fields.get(key)
        choices = get_args(field.annotation) if field is not None else ()
        return type(None) in choices and str not in choices


def left_out(value: Any) -> bool:
    """For `Field(exclude_if=...)`: a key that is not given is left out of the resolved scenario too, which stays what it was before
    there was such a key."""
    return value is None


def as_tuples(value: Any) -> Any:
    """Arrays as tuples, which strict validation asks for."""
    if isinstance(value, dict):
        return {key: as_tuples(item) for key, item in value.items()}
    return tuple(as_tuples(item) for item in value) if isinstance(value, list) else value


class ItemTable(Table):
    """A table that names an item, such as a learner, and holds that item's own keys beside the common ones, which are
    fields of the class. `items`: the kind of item (of `wsim.catalog.KINDS`) by the key that names it."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, hide_input_in_errors=True)
    items: ClassVar[Mapping[str, str]]

    @property
    def own(self) -> dict[str, Any]:
        """The own keys; in a loaded scenario all of them, with the item's defaults filled in."""
        return dict(self.model_extra or {})

    def with_own(self, own: Mapping[str, Any]) -> Self:
        """The same common keys with these own ones."""
        common = {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set}
        return type(self)(**common, **own)
