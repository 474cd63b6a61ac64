"""Writes a checkpoint as one ONNX file and proves that it computes the same as the checkpoint."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from components.cli import ArtifactMetadata, output_file, output_folder, run_step, step_parser
from segmentor.export_choices import MAX_IOU_LOSS, PRECISIONS, SIZE_POLICIES


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of this step."""
    parser = step_parser("export", __doc__)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="checkpoint that train wrote (folder)"
    )
    parser.add_argument("--val", type=Path, required=True, help="validation set (folder)")
    parser.add_argument("--test", type=Path, required=True, help="test set (folder)")
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        help="output folder: model.onnx, model_card.md, and model.int8.onnx where asked for",
    )
    parser.add_argument(
        "--parity", type=Path, required=True, help="output file: how equal the two are, JSON"
    )
    parser.add_argument(
        "--export-report", type=Path, required=True, help="output file: the report, HTML"
    )
    parser.add_argument(
        "--size-policy",
        choices=SIZE_POLICIES,
        default="trained",
        help="what the model does with images of other sizes; trained: as the checkpoint says",
    )
    parser.add_argument(
        "--max-difference",
        type=float,
        default=1e-4,
        help="largest difference of a probability that passes",
    )
    parser.add_argument(
        "--max-flipped",
        type=float,
        default=1e-5,
        help="largest share of the pixels whose class may differ",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="int8: smaller, and faster in OpenVINO; calibrated on val, refused if it loses too "
        "much IoU; both: model.int8.onnx beside model.onnx",
    )
    parser.add_argument(
        "--max-iou-loss",
        type=float,
        default=MAX_IOU_LOSS,
        help="largest loss of test IoU by int8 that passes",
    )
    return parser


def work(arguments: argparse.Namespace) -> ArtifactMetadata:
    """Exports, compares, refuses or writes the three outputs."""
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

    checkpoint = load_for_export(arguments.checkpoint, arguments.size_policy)
    with (
        output_folder(arguments.model) as folder,
        output_file(arguments.parity) as parity_file,
        output_file(arguments.export_report) as report_file,
    ):
        write_model(folder / MODEL_FILE, checkpoint)
        model = OnnxModel(folder)
        parity = measure_parity(checkpoint, model, arguments.val, arguments.test)
        check_parity(parity, arguments.max_difference, arguments.max_flipped)
        figures, quantized, measured = parity_figures(parity), None, parity
        if arguments.precision != "float32":
            from components.export.quantization import put_in_place, write_int8

            quantized = write_int8(
                checkpoint, model, parity, arguments.val, arguments.test, arguments.max_iou_loss
            )
            figures |= quantized.figures()
            if arguments.precision == "int8":
                quantized = put_in_place(quantized, model)
                model, measured = quantized.model, quantized.measured
                figures = quantized.figures_in_place(parity)
        write_figures(parity_file, figures)
        write_card(folder, checkpoint, model, measured, arguments.val, arguments.test, quantized)
        limits = (arguments.max_difference, arguments.max_flipped)
        report = build_report(parity, model, limits, quantized)
        report_file.write_text(report.html(), encoding="utf-8")
    return {
        "model": {"digest": model.digest},
        "parity": figures,
        "export_report": report.metadata(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the step; returns its exit code."""
    return run_step(build_parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
