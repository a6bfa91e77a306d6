"""The published package, in an environment of its own, made on first use beside the repository's."""

import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from .errors import BenchmarkError

VERSION = "1.16.31"
ENVIRONMENT = Path(__file__).with_name(".published")
PYTHON = ENVIRONMENT / "bin" / "python"
PYFLYTE = ENVIRONMENT / "bin" / "pyflyte"
REQUIREMENTS = (f"flytekitplugins-openai=={VERSION}", "flytekit[connector]")
# pip has been seen to wait for ever.
INSTALL_SECONDS = 600


def install() -> None:
    """Make the environment, unless it is there and has the versions that ours has.

    Raises:
        BenchmarkError: pip could not.
    """
    versions = _our_versions()
    ready = ENVIRONMENT / "ready"
    if ready.exists() and ready.read_text() == versions:
        return
    print(f"Installing flytekitplugins-openai {VERSION}, to compare with; this is done once and takes a minute or two.")
    constraints = ENVIRONMENT / "constraints.txt"
    try:
        _python(sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT))
        constraints.write_text(versions)
        _python(str(PYTHON), "-m", "pip", "install", "--quiet", "--constraint", str(constraints), *REQUIREMENTS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise BenchmarkError(f"Could not install flytekitplugins-openai {VERSION} to compare with: {error}") from error
    ready.write_text(versions)


def _our_versions() -> str:
    """Of everything in the repository's environment but the package, as pip's constraints: only the plugin differs."""
    installed = {f"{found.name}=={found.version}" for found in distributions()}
    others = sorted(line for line in installed if not line.startswith("flytekitplugins"))
    return "\n".join([f"# Python {platform.python_version()}", *others, ""])


def _python(*command: str) -> None:
    # From its own directory: from the repository's root it would find our package.
    subprocess.run(command, check=True, timeout=INSTALL_SECONDS, cwd=Path(__file__).parent)
