"""Fuzzes a parser, guided by the lines and branches that an input reaches; or runs it once with an input.

`python -m tests.fuzz TARGET --seed 0 --runs 10000` prints an input that breaks a property, and keeps it in a file;
`python -m tests.fuzz TARGET FILE` runs the target with that file again, without the fuzzer.
"""

import argparse
import importlib
import logging
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
# Nothing that is read within a call may take longer, or more memory.
SECONDS, MEGABYTES = 10, 1_500
LONGEST_INPUT = 4_096


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz a parser of foreign bytes.")
    parser.add_argument("target", choices=sorted(path.name for path in CORPUS.iterdir()))
    parser.add_argument("file", nargs="?", type=Path, help="run the target once, with this file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--crashes", type=Path, default=Path(tempfile.gettempdir()), help="where crashes are kept")
    arguments = parser.parse_args()
    if arguments.file is not None:
        targets = importlib.import_module("tests.fuzz.targets")
        targets.TARGETS[arguments.target](arguments.file.read_bytes())
    else:
        fuzz(arguments)


def fuzz(arguments):
    import atheris  # noqa: PLC0415 (only here: there is no wheel for every machine)

    from tests.fuzz.mutate import mutate  # noqa: PLC0415 (as it is)

    with atheris.instrument_imports(include=["flytekitplugins.openai"]):
        targets = importlib.import_module("tests.fuzz.targets")
    target = targets.TARGETS[arguments.target]
    # A line for each input would hide the one that counts.
    logging.disable()

    def change(data, most, seed):
        changed = mutate(bytes(data), seed) if seed % 4 else None
        return changed if changed is not None and len(changed) <= most else atheris.Mutate(data, most)

    def run(data):
        try:
            target(data)
        except BaseException:
            sys.stderr.write(f"The input that breaks {arguments.target!r}: {data!r}\n")
            raise

    options = {
        # libFuzzer takes 0 for a random one.
        "seed": arguments.seed % 2**32 + 1,
        "runs": arguments.runs,
        "max_len": LONGEST_INPUT,
        "timeout": SECONDS,
        "rss_limit_mb": MEGABYTES,
        "artifact_prefix": f"{arguments.crashes}/{arguments.target}-",
        "print_final_stats": 1,
    }
    with tempfile.TemporaryDirectory() as found:
        command = [*(f"-{name}={value}" for name, value in options.items()), found, str(CORPUS / arguments.target)]
        atheris.Setup([sys.argv[0], *command], run, custom_mutator=change)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
