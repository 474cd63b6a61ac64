"""The command line `segmentor`: which commands there are; their work is imported when it runs."""

import re

import typer

from pipelines.commands import cluster, datasets, finished, labelling, running, schedule, serving

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
# Of a help page; a narrower terminal gets narrower pages.
WIDTH = 100

app = typer.Typer(
    name="segmentor",
    help="From a CVAT export to a verified, served segmentation model.",
    no_args_is_help=True,
    context_settings={"max_content_width": WIDTH},
    # Plain text: an error is one line in a log, and a traceback is a whole one.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
schedule_app = typer.Typer(help="Run a pipeline on a cluster again and again.")
dataset_app = typer.Typer(help="Look into a data set, write it as files, or delete old ones.")


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {_folded(line)}" for line in lines)


def _folded(line: str) -> str:
    """Break a long command before its flags."""
    rows = [""]
    for part in re.split(" (?=--)", line):
        if len(rows[-1]) + len(part) > WIDTH - 10:
            rows.append("")
        rows[-1] += f" {part}"
    return " \\\n     ".join(rows).strip()


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
app.command(
    epilog=_examples(
        "segmentor export outputs/2026-01-31/09-30-00 --size-policy native",
        "segmentor export outputs/2026-01-31/09-30-00 --triton",
    )
)(finished.export)
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
        "segmentor predict s3://photographs/2026 --model s3://models/road/0123456789ab "
        "--output s3://predictions/2026",
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
        "segmentor submit --pipeline predict_batch --param batch_images=s3://photographs/2026 "
        "--param published_model=s3://models/road/0123456789ab "
        "--param predictions=s3://predictions/2026 --param predict_workers=8",
    )
)(cluster.submit)
app.command(
    epilog=_examples(
        "segmentor wait 6f0a3f52-3d0b-4c7c-9d1c-0d6c3ad0f1b7",
        "segmentor wait 6f0a3f52-3d0b-4c7c-9d1c-0d6c3ad0f1b7 --endpoint http://localhost:8080",
    )
)(cluster.wait)
app.command(
    epilog=_examples(
        "segmentor pull cvat://app.cvat.ai/projects/7 --output export.zip",
        "segmentor pull 'cvat://app.cvat.ai/projects/7?stage=acceptance' --output s3://datasets",
    )
)(labelling.pull)
app.command(
    epilog=_examples(
        "segmentor push outputs/2026-01-31/09-30-00 --to cvat://app.cvat.ai/tasks/12",
        "segmentor push s3://models/road/0123456789ab --to cvat://app.cvat.ai/jobs/31",
    )
)(labelling.push)
app.command(
    epilog=_examples(
        "segmentor rank outputs/2026-01-31/09-30-00 photographs",
        "segmentor rank outputs/2026-01-31/09-30-00 cvat://app.cvat.ai/projects/7 --send",
    )
)(labelling.rank)
app.command(epilog=_examples("segmentor init --dvc --export exports/task.zip model=unet_lite0"))(
    datasets.init
)
app.command(epilog=_examples("segmentor doctor"))(running.doctor)
app.command(epilog=_examples("segmentor store --port 8333"))(running.store)
app.add_typer(dataset_app, name="dataset")
app.add_typer(schedule_app, name="schedule")
schedule_app.command(
    epilog=_examples(
        "segmentor schedule create nightly --cron '0 3 * * *' --export cvat://host/projects/7",
        "segmentor schedule create weekly --cron '0 3 * * 1' --export cvat://host/projects/7 "
        "--param apply=true model=unet_lite0",
    )
)(schedule.create)
schedule_app.command("list", epilog=_examples("segmentor schedule list"))(schedule.list_all)
for change in (schedule.pause, schedule.resume, schedule.delete):
    schedule_app.command(epilog=_examples(f"segmentor schedule {change.__name__} nightly"))(change)
dataset_app.command(
    epilog=_examples("segmentor dataset info outputs/2026-01-31/09-30-00/artifacts/split/train")
)(datasets.info)
dataset_app.command(
    epilog=_examples("segmentor dataset unpack .../convert_labels/dataset --output folder")
)(datasets.unpack)
dataset_app.command(
    epilog=_examples("segmentor dataset view outputs/2026-01-31/09-30-00 --output dataset.html")
)(datasets.view)
dataset_app.command(
    epilog=_examples("segmentor dataset prune s3://models --older-than-days 90 --delete")
)(datasets.prune)


def main() -> None:
    """Run the command line; it exits with 0, 1, 2 or 3 as components/cli.py has it."""
    app()


if __name__ == "__main__":
    main()
