"""Options of several parts that are written as one text, such as geometric:0.3,regrow=40x1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import model_serializer, model_validator

from mcprune.config.parsing import nearest, number_text
from mcprune.config.sections.base import Section


class TextOption(Section):
    """An option written as HEAD[:PART...][,KEY=VALUE...]; a mapping of its parts is accepted as well.

    Attributes
    ----------
    head : tuple of str
        The fields that the parts before the first comma fill, in order; the last takes the rest.
    form : str
        How it is written, for messages.
    """

    head: ClassVar[tuple[str, ...]] = ()
    form: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        return cls.read(value)

    @classmethod
    def read(cls, value: object) -> Self | dict[str, object]:
        """Return the fields of a text, a number, a list or a mapping, unchecked; a value of this class as it is.

        Raises
        ------
        ValueError
            It has another form.
        """
        if isinstance(value, bool):
            raise ValueError(f"true and false are no value here, got {value!r}")
        if isinstance(value, int | float):
            value = number_text(value)
        if isinstance(value, list | tuple):
            value = ",".join(map(str, value))
        if isinstance(value, str):
            value = cls.parts(value)
        if not isinstance(value, Mapping):
            if isinstance(value, cls):
                return value
            raise ValueError(f"{cls.form} is needed, got {value!r:.60}")
        fields = {cls.field_of(str(key)): part for key, part in value.items()}
        unknown = [key for key in fields if key not in cls.model_fields]
        if unknown:
            keys = [cls.key_of(field) for field in cls.model_fields]
            raise ValueError(
                f"there is no part {unknown[0]!r}{nearest(unknown[0], keys)}, got {cls.shown(value)}; write {cls.form}"
            )
        return fields

    @classmethod
    def parts(cls, text: str) -> dict[str, object]:
        """Return the fields of a text, unchecked.

        Raises
        ------
        ValueError
            The text has another form.
        """
        fields: dict[str, object] = {}
        first, *rest = [part.strip() for part in text.split(",")]
        positions: list[str] = []
        for part in first.split(":") if first else ():
            if "=" in part:
                rest.insert(len(rest) if not positions else 0, part)
            else:
                positions.append(part.strip())
        if len(positions) > len(cls.head):
            positions[len(cls.head) - 1 :] = [":".join(positions[len(cls.head) - 1 :])]
        fields.update(zip(cls.head, positions, strict=False))
        for part in filter(None, rest):
            key, equals, value = (piece.strip() for piece in part.partition("="))
            field = cls.field_of(key)
            is_switch = field in cls.model_fields and cls.model_fields[field].annotation is bool
            if field in fields or not (equals or is_switch):
                raise ValueError(
                    f"{'a part twice' if field in fields else 'no value'} at {part!r}, got {text!r}; write {cls.form}"
                )
            fields[key] = value if equals else True
        return fields

    @classmethod
    def field_of(cls, key: str) -> str:
        """Return the field that a key of the text means."""
        return f"{key}_" if f"{key}_" in cls.model_fields else key

    @classmethod
    def key_of(cls, field: str) -> str:
        """Return the key of a field in the text."""
        return field.rstrip("_")

    @classmethod
    def shown(cls, value: Mapping[object, object]) -> str:
        """Return a mapping in a few words."""
        return f"{dict(value)!r:.60}"

    @model_serializer
    def _text(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """Return the text that reads back as an equal value."""
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        head = [getattr(self, name) for name in self.head]
        while head and head[-1] is None:
            head.pop()
        pairs = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name not in self.head and value != defaults[name]:
                pairs.append(self.key_of(name) if value is True else f"{self.key_of(name)}={number_text(value)}")
        return ",".join(filter(None, [":".join(map(number_text, head)), *pairs]))

    def but(self, **fields: object) -> Self:
        """Return a copy with other fields, unchecked."""
        return self.model_copy(update=fields)
