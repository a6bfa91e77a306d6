"""Makes the request of a row of what the user's function returned for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from flytekitplugins.openai.batch.authoring.build import chat_completion_request, embedding_request, response_request
from flytekitplugins.openai.batch.requests.endpoints import CHAT_COMPLETIONS, EMBEDDINGS, RESPONSES

if TYPE_CHECKING:
    import pydantic

__all__ = ["RequestMaker"]

# The function that makes a request for each endpoint, and its argument that the prompt goes into.
MAKERS: dict[str, tuple[Callable[..., dict[str, Any]], str]] = {
    CHAT_COMPLETIONS: (chat_completion_request, "messages"),
    EMBEDDINGS: (embedding_request, "input"),
    RESPONSES: (response_request, "input"),
}


@cache
def _format_of(endpoint: str, output: type[pydantic.BaseModel]) -> Mapping[str, Any]:
    """What a request's body has for the model of its answer."""
    make, name = MAKERS[endpoint]
    body = make("0", model="any", response_format=output, **{name: "any"})["body"]
    return {key: value for key, value in body.items() if key not in ("model", name)}


@dataclass(frozen=True)
class RequestMaker:
    """Makes the requests of a table.

    Attributes:
        endpoint: Where they go.
        model: The model that is asked.
        output: What the model must write; `None` for a text.
        system: The instructions that come before each prompt; "" if there are none.
        parameters: Other parameters of each request.
    """

    endpoint: str
    model: str
    output: type[pydantic.BaseModel] | None = None
    system: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def request(self, custom_id: str, prompt: Any) -> dict[str, Any]:
        """The request for a row.

        Args:
            custom_id: The row's number.
            prompt: What the function returned: a text, a list of messages, or a dictionary of parameters.

        Raises:
            TypeError: The prompt is none of them, or something in it has no form in JSON.
            ValueError: It is empty.
        """
        make, name = MAKERS[self.endpoint]
        arguments: dict[str, Any] = {"model": self.model, **self.parameters}
        if self.output is not None:
            arguments["response_format"] = self.output
        if isinstance(prompt, Mapping):
            arguments |= prompt
            if name not in arguments:
                raise TypeError(f"a dictionary of parameters needs {name!r}, and has {', '.join(map(repr, prompt))}")
        elif isinstance(prompt, str | Sequence) and not isinstance(prompt, bytes):
            arguments[name] = prompt
        else:
            raise TypeError(
                "a prompt must be a string, a list, a dictionary of parameters, or None for a row to leave out, "
                f"not {type(prompt).__name__}"
            )
        if self.system:
            self._add_instructions(arguments)
        if arguments.get("response_format") is not self.output or self.output is None or "text" in arguments:
            return make(custom_id, **arguments)
        # The same object in each request, which is encoded at once: to make it takes as long as all the rest.
        del arguments["response_format"]
        request = make(custom_id, **arguments)
        request["body"] |= _format_of(self.endpoint, self.output)
        return request

    def _add_instructions(self, arguments: dict[str, Any]) -> None:
        if self.endpoint == RESPONSES:
            arguments.setdefault("instructions", self.system)
        else:
            given = arguments["messages"]
            messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
            arguments["messages"] = [{"role": "system", "content": self.system}, *messages]
