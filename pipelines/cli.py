"""The command line `segmentor`: which commands there are; their work is imported when it runs."""

import sys

import typer

from pipelines.commands import cluster, datasets, finished, running, serving

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(
    name="segmentor",
    help="From a CVAT export to a verified, served segmentation model.",
    no_args_is_help=True,
    # Plain text: an error is one line in a log, and a traceback is a whole one.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
dataset_app = typer.Typer(help="Look into a data set, or write it out as folders.")


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


app.command(epilog=_examples("segmentor demo"))(running.demo)
app.command(
    epilog=_examples(
        "segmentor run --export my-task.zip",
        "segmentor run --export s3://datasets/task.zip --param 'classes=road=road+lane_mark'",
        "segmentor run --export my-task.zip --param seed=1 model=unet_resnet34 training.epochs=40",
        "segmentor run --export my-task.zip --runner docker",
        "segmentor run --export my-task.zip --pipeline sweep 'model=tiny' 'model=fpn seed=1'",
    )
)(running.run)
app.command(
    context_settings=PASS_THROUGH,
    add_help_option=False,
    epilog=_examples("segmentor train --cfg job"),
)(running.train)
app.command(
    epilog=_examples(
        "segmentor evaluate outputs/2026-01-31/09-30-00",
        "segmentor evaluate outputs/2026-01-31/09-30-00 --dataset other/artifacts/split/test",
    )
)(finished.evaluate)
app.command(epilog=_examples("segmentor export outputs/2026-01-31/09-30-00 --size-policy native"))(
    finished.export
)
app.command(
    epilog=_examples("segmentor infer outputs/2026-01-31/09-30-00 photographs --output masks")
)(finished.infer)
app.command(
    epilog=_examples("segmentor compare outputs/2026-01-31/09-30-00 outputs/2026-01-31/10-15-00")
)(finished.compare)
app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog=_examples(
        "segmentor serve outputs/2026-01-31/09-30-00",
        "segmentor serve s3://models/segmentation/0123456789ab --name road --port 9000",
    ),
)(serving.serve)
app.command(
    epilog=_examples(
        "segmentor predict photograph.jpg",
        "segmentor predict photographs --url http://127.0.0.1:8080 --output masks",
    )
)(serving.predict)
app.command(
    epilog=_examples(
        "segmentor ui --images photographs", "segmentor ui --url http://127.0.0.1:9000"
    )
)(serving.ui)
app.command(
    "compile",
    epilog=_examples("segmentor compile", "segmentor compile --output build --kubernetes"),
)(cluster.compile_pipelines)
app.command(
    epilog=_examples(
        "segmentor submit --export s3://datasets/my-task.zip --wait",
        "segmentor submit --export s3://datasets/my-task.zip --endpoint http://localhost:8080 "
        "--param 'classes=road=road+lane_mark' training.epochs=40",
    )
)(cluster.submit)
app.command(epilog=_examples("segmentor store --port 8333"))(running.store)
app.add_typer(dataset_app, name="dataset")
dataset_app.command(
    epilog=_examples("segmentor dataset info outputs/2026-01-31/09-30-00/artifacts/split/train")
)(datasets.info)
dataset_app.command(
    epilog=_examples("segmentor dataset unpack .../convert_labels/dataset --output folder")
)(datasets.unpack)
dataset_app.command(
    epilog=_examples("segmentor dataset view outputs/2026-01-31/09-30-00 --output dataset.html")
)(datasets.view)


def main() -> None:
    """The entry point; the exit code is 0, 1, 2 or 3 as components/cli.py has it."""
    app()


if __name__ == "__main__":
    sys.exit(main())
