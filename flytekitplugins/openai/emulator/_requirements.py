"""Raises a clear error when the packages of the extra `emulator` are not installed."""

from importlib.util import find_spec

__all__: list[str] = []

_missing = [name for name in ("starlette", "uvicorn", "python_multipart") if find_spec(name) is None]
if _missing:
    raise ModuleNotFoundError(
        f"The emulator needs {', '.join(_missing)}: pip install 'flytekitplugins-openai[emulator]'", name=_missing[0]
    )
