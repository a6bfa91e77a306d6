"""The arguments of the doctor, and which checks are made in which order."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from flytekitplugins.openai._arguments import amount
from flytekitplugins.openai._command import Command
from flytekitplugins.openai._secret_names import COMMON, KeyScope, SecretName

from .account import AccountChecks
from .environment import check_connector_extra, check_versions
from .findings import Check, Diagnosis, failed, skipped
from .helm_values import check_helm_values
from .keys import find_keys, find_upload_key, is_in_pod, secret_name
from .stored_names import check_names_beside_keys
from .submission import Submission

__all__ = ["DOCTOR"]

SUBMIT_SECONDS = 600.0
CHAT_ENDPOINT = "/v1/chat/completions"


def _run(options: argparse.Namespace) -> Diagnosis:
    # Drawn in a terminal only.
    with Console(stderr=True).status("making the checks"):
        return Diagnosis(tuple(_checks(options)))


def _checks(options: argparse.Namespace) -> Iterator[Check]:
    if options.only_helm_values:
        if options.helm_values:
            yield from check_helm_values(options.helm_values)
        else:
            yield failed("Helm values", "none were given; give each file with --helm-values")
        return
    in_connector = is_in_pod() if options.connector is None else options.connector
    yield check_versions()
    if in_connector:
        yield check_connector_extra()
    keys = find_keys(in_connector=in_connector, whose=options.flyte_project)
    upload_key = None
    if options.upload_secret and len(keys) > 1:
        yield failed(
            "upload key", "not checked, because several projects have keys; say whose step it is: --flyte-project NAME"
        )
    elif options.upload_secret:
        upload_key = find_upload_key(options.upload_secret)
    yield from (key.check for key in [*keys, *([upload_key] if upload_key else [])])
    if in_connector and options.flyte_project == COMMON:
        yield from check_names_beside_keys()
    if importlib.util.find_spec("openai") is None:
        yield skipped("account", "not checked, because the package openai is not installed")
    else:
        yield from AccountChecks(keys, upload_key, in_connector=in_connector).run(_submission(options))
    if options.helm_values:
        yield from check_helm_values(options.helm_values)


def _submission(options: argparse.Namespace) -> Submission | None:
    if not options.submit:
        return None
    return Submission(model=options.model, endpoint=options.endpoint, seconds=options.submit_seconds)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--connector",
        action=argparse.BooleanOptionalAction,
        help="look for the key where the connector does, and not where a local run does (in a pod of Kubernetes)",
    )
    parser.add_argument(
        "--upload-secret",
        type=_secret,
        metavar="GROUP/KEY",
        help="the secret of the upload step, if it is to be checked: mounted as Flyte does it, or a variable GROUP_KEY",
    )
    parser.add_argument(
        "--flyte-project",
        type=_project,
        default=COMMON,
        metavar="PROJECT[/DOMAIN]",
        help="check only the key that the connector uses for tasks of this project of Flyte's (all that it has)",
    )
    parser.add_argument(
        "--helm-values",
        action="append",
        type=Path,
        metavar="FILE",
        help="values of the chart flyte-binary, flyte-core or flyteconnector that are to be checked; may be repeated; "
        "- is standard input",
    )
    parser.add_argument(
        "--only-helm-values",
        action="store_true",
        help="check these values and nothing else: without a key, and without a call to OpenAI",
    )
    submit = parser.add_argument_group("a real batch", "It has one request, is billed, and stays on OpenAI's list.")
    submit.add_argument("--submit", action="store_true", help="run one")
    submit.add_argument("--model", default="gpt-4o-mini", help="the model, or deployment, to ask (%(default)s)")
    submit.add_argument("--endpoint", default=CHAT_ENDPOINT, help="the endpoint for chats (%(default)s)")
    submit.add_argument(
        "--submit-seconds",
        type=amount,
        default=SUBMIT_SECONDS,
        metavar="SECONDS",
        help="how long it may take before it is cancelled (%(default)g)",
    )


def _project(text: str) -> KeyScope:
    try:
        return KeyScope(*text.split("/"))
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a project, such as fraud-team") from None


def _secret(text: str) -> SecretName:
    try:
        return secret_name(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a secret, such as openai/api_key") from None


DOCTOR = Command(
    name="doctor",
    tells="whether keys, permissions, network, clock, versions and settings are as they must be, and what to do if not",
    add_arguments=_add_arguments,
    run=_run,
)
