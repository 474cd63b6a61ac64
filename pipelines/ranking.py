"""`segmentor rank`: both lists and their report, of a folder of images or of a CVAT server."""

from pathlib import Path

from components.propose.proposing import Proposal, propose
from pipelines.image_files import find_images
from segmentor.cvat.address import is_cvat_uri
from segmentor.dataset import Dataset, open_dataset
from segmentor.errors import ConfigError
from segmentor.model import Model, open_model
from segmentor.ranking.ranking import folder_of_images, rank, write_lists
from segmentor.ranking.report import build_report
from segmentor.run_record import FILE_NAME as RUN_FILE

REPORT = "report.html"


def rank_images(model: str, images: str, dataset: Path | None, output: Path, most: int) -> str:
    """Rank, write report and lists to a folder, and return lines: what was found, and the files.

    A list that is not asked for (no images to choose from, or no labels to check) is not written,
    and that of an earlier ranking stays.

    Args:
        model: See `open_model`.
        images: A folder of images, a cvat:// address, or nothing.
        dataset: What is labelled, a data set or a run; None takes that of the model's run.
        output: Gets report.html, and images.csv and labels.csv as far as they are asked for.
        most: So many frames get masks in CVAT, and so many labels an issue.

    Raises:
        ConfigError: nothing to rank, or a folder that should get masks.
        DataError: no image in the folder.
        CvatError: the server is away or refuses; a class has no label, or one of another type.
    """
    if dataset is None and Path(model, RUN_FILE).is_file():
        dataset = Path(model)
    if dataset is None and not images:
        raise ConfigError("segmentor rank", "nothing to rank", "images, or --dataset")
    if most and not is_cvat_uri(images):
        raise ConfigError("--send", f"images '{images}'", "a cvat:// address")
    labelled = None if dataset is None else open_dataset(dataset)
    proposal = _propose(open_model(model), images, labelled, most)
    output.mkdir(parents=True, exist_ok=True)
    lists = write_lists(output, proposal.ranking)
    report = output / REPORT
    report.write_text(proposal.report.html(), encoding="utf-8")
    unread = [f"not read: {problem}" for problem in proposal.ranking.problems]
    return "\n".join([proposal.summary, *map(str, (report, *lists)), *unread])


def _propose(model: Model, images: str, labelled: Dataset | None, most: int) -> Proposal:
    if is_cvat_uri(images):
        return propose(model, labelled, images, most, most)
    found = None
    if images:
        paths = find_images(Path(images))
        folder = Path(images) if Path(images).is_dir() else Path(images).parent
        found = folder_of_images(folder, paths)
    ranking = rank(model, labelled, found)
    return Proposal(ranking, build_report(ranking, model, labelled))
