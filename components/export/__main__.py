"""Writes a checkpoint as one ONNX file and proves that it computes the same as the checkpoint."""

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
from components.export.options import ExportOptions
from components.options import add_flags, read_options


def build_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = step_parser("export", __doc__)
    add_paths(
        parser,
        checkpoint="checkpoint that train wrote (folder)",
        val="validation set (folder)",
        test="test set (folder)",
        model="output folder: model.onnx, model_card.md, and model.int8.onnx where asked for",
        parity="output file: how equal the two are, JSON",
        export_report="output file: the report, HTML",
    )
    add_flags(parser, ExportOptions)
    return parser


def work(arguments: argparse.Namespace) -> ArtifactMetadata:
    """Export, compare, and refuse or write the three outputs."""
    options = read_options(ExportOptions, arguments)
    from components.export.export_report import build_report
    from components.export.model_card import write_card
    from components.export.onnx_file import load_for_export, write_model
    from components.export.parity import (
        check_parity,
        measure_parity,
        parity_figures,
        write_figures,
    )
    from segmentor.onnx_model import MODEL_FILE, OnnxModel

    checkpoint = load_for_export(arguments.checkpoint, options.size_policy)
    with (
        output_folder(arguments.model) as folder,
        output_file(arguments.parity) as parity_file,
        output_file(arguments.export_report) as report_file,
    ):
        write_model(folder / MODEL_FILE, checkpoint)
        model = OnnxModel(folder)
        parity = measure_parity(checkpoint, model, arguments.val, arguments.test)
        check_parity(parity, options.max_probability_difference, options.max_flipped_fraction)
        figures, quantized, measured = parity_figures(parity), None, parity
        if options.export_precision != "float32":
            from components.export.int8_model import put_in_place, write_int8

            quantized = write_int8(
                checkpoint, model, parity, arguments.val, arguments.test, options.max_iou_loss
            )
            figures |= quantized.figures()
            if options.export_precision == "int8":
                quantized = put_in_place(quantized, model)
                model, measured = quantized.model, quantized.measured
                figures = quantized.figures_in_place(parity)
        write_figures(parity_file, figures)
        write_card(folder, checkpoint, model, measured, arguments.val, arguments.test, quantized)
        limits = (options.max_probability_difference, options.max_flipped_fraction)
        report = build_report(parity, model, limits, quantized)
        report_file.write_text(report.html(), encoding="utf-8")
    return {
        "model": {"digest": model.digest},
        "parity": figures,
        "export_report": report.metadata(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step and return its exit code."""
    return run_step(build_parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
