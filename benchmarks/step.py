"""A script: a process as Flyte's container starts it, which tells at its end what it has used.

    python step.py USED_JSON [ARGUMENTS OF pyflyte-execute ...]

Without further arguments it does no more than `import flytekit`, which is what every step costs before it begins.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

BEGUN = time.monotonic()


def main() -> None:
    """Run the step, and write down the seconds by the clock and of CPU, and the most memory there was, in bytes."""
    target, *arguments = sys.argv[1:]
    # The process is isolated, and finds a user's own code here alone.
    sys.path += filter(None, [os.environ.get("USER_CODE")])
    # Another plugin of flytekit may have made the namespace before our checkout was on the path.
    importlib.invalidate_caches()
    importlib.import_module("flytekit")
    if arguments:
        entrypoint = importlib.import_module("flytekit.bin.entrypoint")
        entrypoint.execute_task_cmd.main(arguments, standalone_mode=False)
    used = {"seconds": time.monotonic() - BEGUN, "cpu": time.process_time(), "peak": _peak_bytes()}
    Path(target).write_text(json.dumps(used))


def _peak_bytes() -> int:
    # Not `ru_maxrss`: that begins with what the process had that started this one.
    # https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024


if __name__ == "__main__":
    main()
