"""The entry point of `segmentor`; without its extra, one line that names it."""

import sys

from components.cli import refuse_dashes
from components.missing_extra import explain


def main() -> None:
    """Run the command line; the exit code is 0, 1, 2 or 3 as components/cli.py has it."""
    refuse_dashes(sys.argv[1:])
    try:
        from pipelines.cli import app
    except ModuleNotFoundError as error:
        if line := explain(error):
            sys.exit(_refused(line))
        raise
    app()


def _refused(line: str) -> int:
    print(f"error: {line}", file=sys.stderr)
    return 3


if __name__ == "__main__":
    main()
