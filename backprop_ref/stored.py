"""What files hold, as types: of what is read from a file, nothing is used before it is checked."""

import json
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backprop_ref.errors import InvalidInput
from backprop_ref.files import MOST_BYTES, Name, content
from backprop_ref.network import Network

Count = Annotated[int, Field(ge=0, lt=2**53)]
"""A whole number that JavaScript can hold too."""
Size = Annotated[int, Field(ge=1, lt=2**31)]


class Stored(BaseModel):
    """A mapping of a JSON file. Types are strict: true is no number, and 1 no text. Other keys may be there too."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, defer_build=True)

    @classmethod
    def checked(cls, content: object) -> Self:
        """What JSON held, as one of these; a ValueError names the entry that is missing, or of another type or
        range.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"])) or "all of it"
            raise ValueError(f"{where}: {problem['msg'][:1].lower()}{problem['msg'][1:]}") from None

    @classmethod
    def read(cls, path: Name, what: str) -> dict[str, Any]:
        """The mapping in a JSON file, in the file's order; refused if it is not `what` it should be."""
        text = read_text(path)
        try:
            found: dict[str, Any] = parsed(text)
            cls.checked(found)
        except ValueError as error:
            raise InvalidInput(f"{path}: not {what}, or damaged ({error})") from None
        return found


class StoredNetwork(Stored):
    """`Network.to_dict`."""

    sizes: list[Size]
    activations: list[str]
    loss: str

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        self.network()
        return self

    def network(self) -> Network:
        """The network that it describes."""
        return Network(self.sizes, self.activations, self.loss)


def parsed(text: str | bytes) -> Any:
    """What a JSON text says; a ValueError where it is none, or too deeply nested."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("too deeply nested") from None


def read_text(path: Name, most: int = MOST_BYTES) -> str:
    """The text of a regular file of at most so many bytes; a FileNotFoundError where there is none."""
    try:
        return content(path, most).decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: cannot be read (not UTF-8 text); save it as UTF-8") from None
