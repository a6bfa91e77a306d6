"""Writes the connector's log as JSON, where flytekit's is."""

from __future__ import annotations

import logging
import os

from flytekit.loggers import LOGGING_FMT_ENV_VAR, jsonlogger

__all__ = ["log_as_asked"]

FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"


def log_as_asked() -> None:
    """With `FLYTE_SDK_LOGGING_FORMAT=json`, write each line as an object with its fields, on standard error.

    flytekit sets up its own loggers alone. The connector's verbs call this, and not the import: a program that imports
    the package has a log of its own.
    """
    logger = logging.getLogger("flytekitplugins.openai")
    if os.environ.get(LOGGING_FMT_ENV_VAR) != "json" or logger.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(jsonlogger.JsonFormatter(fmt=FORMAT))
    logger.addHandler(handler)
    logger.propagate = False
