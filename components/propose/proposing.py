"""Rank what a project of CVAT holds, then send masks for frames and issues for labels."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from segmentor.cvat.address import CvatUri
from segmentor.cvat.frames import Frame, frames_by_sample, frames_of
from segmentor.cvat.issues import Remark, open_issues
from segmentor.cvat.push import match_labels, push
from segmentor.cvat.server import CvatServer
from segmentor.dataset import Dataset
from segmentor.model import Model
from segmentor.plurals import counted
from segmentor.ranking.ranking import Ranking, UnlabelledImage, rank
from segmentor.ranking.report import advice, build_report
from segmentor.report import Report


@dataclass(frozen=True)
class Proposal:
    """Both lists, the page, and what CVAT got, if anything was to be sent."""

    ranking: Ranking
    report: Report
    is_sent: bool = False
    frames_sent: int = 0
    issues_opened: int = 0

    @property
    def summary(self) -> str:
        """Return one line for a terminal."""
        ranking, parts = self.ranking, []
        if ranking.images is not None:
            parts.append(counted(len(ranking.images), "unlabelled image"))
        if ranking.suspicions is not None:
            places = counted(len(ranking.suspicions), "place")
            labelled = counted(ranking.labelled, "labelled image")
            parts.append(f"{places} where {labelled} and the model differ")
        if self.is_sent:
            frames = counted(self.frames_sent, "frame")
            parts.append(f"CVAT has masks for {frames}, {counted(self.issues_opened, 'new issue')}")
        return "; ".join(parts)


def propose(
    model: Model,
    dataset: Dataset | None,
    to: str,
    most_images: int,
    most_issues: int,
) -> Proposal:
    """Rank the frames of a CVAT server and the labels of a data set; send what comes first.

    Frames without labels of a person are ranked. Samples of the data set that are such frames say
    nothing about labels and are left out.

    Args:
        model: The model.
        dataset: What is labelled so far.
        to: cvat:// address of a project, task or job.
        most_images: Frames that get masks; 0 sends none.
        most_issues: Labels that get an issue; 0 opens none.

    Raises:
        CvatError: the server is away or refuses; a class has no label, or one of another type.
        ContractError: the classes of the data set are not the model's.
    """
    uri = CvatUri.parse(to)
    with CvatServer.of(uri) as server:
        if most_images:
            match_labels(server, uri, model.label_map)
        frames = frames_of(server, uri)
        unlabelled = [frame for frame in frames if not frame.is_labelled]
        samples = frames_by_sample(frames)
        by_name = {_name(frame): frame for frame in unlabelled}
        images = [
            UnlabelledImage(name, f"task {frame.task}", _reader(server, frame))
            for name, frame in by_name.items()
        ]
        without = {name for name, frame in samples.items() if not frame.is_labelled}
        ranking = rank(model, dataset, images, without)
        pages = {name: frame.page(server) for name, frame in {**samples, **by_name}.items()}
        report = build_report(ranking, model, dataset, pages)
        best_first = islice(ranking.images or (), most_images)
        sent = _push(server, uri, model, [by_name[item.image.name] for item in best_first])
        suspected = (item for item in ranking.suspicions or () if item.sample in samples)
        remarks = [
            Remark(samples[item.sample], item.region.box, advice(item.region, model.label_map))
            for item in islice(suspected, most_issues)
        ]
        is_sent = bool(most_images or most_issues)
        return Proposal(ranking, report, is_sent, sent, open_issues(server, remarks))


def _name(frame: Frame) -> str:
    return f"{frame.name} (task {frame.task}, frame {frame.index})"


def _reader(server: CvatServer, frame: Frame) -> Callable[[], bytes]:
    return lambda: server.image(frame.task, frame.index)


def _push(server: CvatServer, uri: CvatUri, model: Model, frames: list[Frame]) -> int:
    """Send masks for some frames, job by job; return how many frames have them now."""
    by_job: dict[int, set[int]] = {}
    for frame in frames:
        by_job.setdefault(frame.job, set()).add(frame.index)
    outcomes = [
        pushed.outcome
        for job, indices in by_job.items()
        for pushed in push(server, uri.of_job(job), model, only=indices)
    ]
    return sum(outcome in ("sent", "unchanged") for outcome in outcomes)
