"""Says what to label next and which labels look wrong, and sends both to CVAT."""

import argparse
import sys
from collections.abc import Sequence

from components.cli import (
    ArtifactMetadata,
    add_paths,
    output_file,
    output_folder,
    run_step,
    step_parser,
)
from components.options import add_flags, read_options
from components.propose.options import ProposeOptions


def build_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = step_parser("propose", __doc__)
    add_paths(parser, dataset="what is labelled so far")
    add_flags(parser, ProposeOptions)
    add_paths(parser, ranking="output: both lists (CSV)", ranking_report="output: report (HTML)")
    return parser


def work(arguments: argparse.Namespace) -> ArtifactMetadata:
    """Rank, send, and write both outputs."""
    options = read_options(ProposeOptions, arguments)
    from components.propose.proposing import propose
    from segmentor.dataset import Dataset
    from segmentor.model import open_model
    from segmentor.ranking.ranking import write_lists

    proposal = propose(
        open_model(options.model),
        Dataset(arguments.dataset),
        options.to,
        options.most_images,
        options.most_issues,
    )
    with output_folder(arguments.ranking) as folder, output_file(arguments.ranking_report) as page:
        write_lists(folder, proposal.ranking)
        page.write_text(proposal.report.html(), encoding="utf-8")
    sys.stdout.write(f"{proposal.summary}\n")
    return {
        "ranking": {"frames_sent": proposal.frames_sent, "issues_opened": proposal.issues_opened},
        "ranking_report": proposal.report.metadata(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step and return its exit code."""
    return run_step(build_parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
