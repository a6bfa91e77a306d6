"""Fields are what the model's own dump says, however they are read."""

import enum
from functools import cached_property
from typing import Annotated, Literal

import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Field

from flytekitplugins.openai.batch.authoring.output_fields import WHOLE, field_reader


class Team(enum.Enum):
    BILLING = "billing"


class Plain(BaseModel):
    name: Annotated[str, Field(min_length=1)]
    kind: Literal["a", "b"] = "a"
    number: int | None = None
    price: Annotated[float, Field(ge=0)] = 0.5
    paid: bool = False


class Derived(Plain):
    more: str = ""


class WithTwoNames(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)
    name: str = Field(alias="Name")


class WithMember(BaseModel):
    name: str
    team: Team = Team.BILLING


class WithModel(BaseModel):
    name: str
    plain: Plain = Plain(name="x")


class WithExtra(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class WithoutOne(BaseModel):
    name: str
    hidden: str = Field(default="x", exclude=True)


class WithComputed(BaseModel):
    name: str

    @pydantic.computed_field
    @property
    def twice(self) -> str:
        return self.name * 2


class WithFieldSerializer(BaseModel):
    name: str

    @pydantic.field_serializer("name")
    def _upper(self, name: str) -> str:
        return name.upper()


class WithAnnotatedSerializer(BaseModel):
    name: Annotated[str, pydantic.PlainSerializer(str.upper)]


class WithModelSerializer(BaseModel):
    name: str

    @pydantic.model_serializer
    def _other(self) -> dict[str, str]:
        return {"other": self.name}


class WithDump(BaseModel):
    name: str

    def model_dump(self, **_: object) -> dict[str, str]:
        return {"dumped": self.name}


class WithCached(BaseModel):
    name: str

    @cached_property
    def longer(self) -> str:
        return self.name + "!"

    @pydantic.model_validator(mode="after")
    def _look(self) -> "WithCached":
        assert self.longer
        return self


class WithCachedAfterwards(BaseModel):
    name: str

    @cached_property
    def longer(self) -> str:
        return self.name + "!"

    def model_post_init(self, _: object) -> None:
        assert self.longer


class BuiltLate(BaseModel):
    model_config = ConfigDict(defer_build=True)
    name: str


OTHERS = [
    *(WithTwoNames, WithMember, WithModel, WithExtra, WithoutOne, WithComputed, WithFieldSerializer),
    *(WithAnnotatedSerializer, WithModelSerializer, WithDump, WithCached, WithCachedAfterwards, BuiltLate),
]


@pytest.mark.parametrize("model", [Plain, Derived, *OTHERS])
def test_fields_are_those_of_the_dump(model):
    """Whatever the model says about its dump, and whether or not it is dumped."""
    output = model.model_validate_json('{"name": "Ada", "Name": "Ada"}')
    read = field_reader()
    for _ in range(2):
        assert dict(read(output)) == output.model_dump()


@pytest.mark.parametrize("model", [Plain, Derived])
def test_model_that_only_holds_values_is_not_dumped(model):
    """A dump takes as long as to decode a line."""
    output = model(name="Ada")
    assert field_reader()(output) is output.__dict__


@pytest.mark.parametrize("output", [5, ["a"], {"a": 1}])
def test_what_has_no_fields_is_whole(output):
    """A dictionary, too: its keys are the answer's, and no columns."""
    assert field_reader()(output) == {WHOLE: output}
