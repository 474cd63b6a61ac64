"""Addresses of projects, tasks and jobs on a CVAT server, with the filters that a query names."""

import ipaddress
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from segmentor.errors import CvatError

# TLS is the default; a server inside a cluster often has none.
_SCHEMES = {"cvat": "https", "cvat+http": "http"}
KINDS = {"projects": "project", "tasks": "task", "jobs": "job"}
STATES = ("new", "in progress", "completed", "rejected")
STAGES = ("annotation", "validation", "acceptance")
_FORM = "cvat://host[:port]/projects/7, /tasks/12 or /jobs/31"


@dataclass(frozen=True)
class CvatUri:
    """What to read from a CVAT server, or where to write.

    `cvat://host/projects/7?stage=acceptance&state=completed&subset=Train,Validation`

    Attributes:
        server: Base URL, such as https://app.cvat.ai. Plain HTTP is used for `cvat+http://` and
            for loopback addresses.
        kind: projects, tasks or jobs.
        number: The id.
        organization: Short name of the organization; empty for what the token can see by itself.
        states: Take jobs in these states only; empty takes all.
        stages: Take jobs at these stages only; empty takes all.
        subsets: Take tasks of these subsets only; empty takes all.
        cloud_storage: Id of a cloud storage of the server that the export is written to; None
            downloads it from the server.
    """

    server: str
    kind: str
    number: int
    organization: str = ""
    states: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    subsets: tuple[str, ...] = ()
    cloud_storage: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an address.

        Raises:
            CvatError: another scheme, no such kind, an id that is not a number, an unknown filter.
        """
        parts = urlsplit(text)
        steps = parts.path.strip("/").split("/")
        if (
            parts.scheme not in _SCHEMES
            or not parts.hostname
            or len(steps) != 2
            or steps[0] not in KINDS
            or not steps[1].isdecimal()
        ):
            raise CvatError(text, "not an address of CVAT", _FORM)
        if parts.username or parts.password:
            raise CvatError(
                parts.hostname,
                "a password in the address",
                _FORM,
                "set CVAT_ACCESS_TOKEN in the environment",
            )
        scheme = "http" if _is_loopback(parts.hostname) else _SCHEMES[parts.scheme]
        uri = cls(f"{scheme}://{parts.netloc}", steps[0], int(steps[1]))
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            uri = uri._with_filter(text, name, value)
        return uri

    def _with_filter(self, text: str, name: str, value: str) -> Self:
        values = tuple(part for part in value.split(",") if part)
        if name == "organization":
            return replace(self, organization=value)
        if name == "subset":
            return replace(self, subsets=values)
        if name == "state" and set(values) <= set(STATES):
            return replace(self, states=values)
        if name == "stage" and set(values) <= set(STAGES):
            return replace(self, stages=values)
        if name == "cloud_storage" and value.isdecimal():
            return replace(self, cloud_storage=int(value))
        raise CvatError(
            text,
            f"{name}={value}",
            f"state={'|'.join(STATES)}, stage={'|'.join(STAGES)}, subset=NAME, "
            "organization=NAME or cloud_storage=ID",
        )

    def of_job(self, number: int) -> Self:
        """Return the address of a job on the same server."""
        return replace(self, kind="jobs", number=number)

    @property
    def noun(self) -> str:
        """The kind in the singular: project, task or job."""
        return KINDS[self.kind]

    @property
    def is_filtered(self) -> bool:
        """True if only some jobs are wanted."""
        return bool(self.states or self.stages or self.subsets)

    @property
    def query(self) -> dict[str, str]:
        """The filters as the query of an address names them."""
        values = {
            "organization": self.organization,
            "state": ",".join(self.states),
            "stage": ",".join(self.stages),
            "subset": ",".join(self.subsets),
            "cloud_storage": "" if self.cloud_storage is None else str(self.cloud_storage),
        }
        return {name: value for name, value in values.items() if value}

    def __str__(self) -> str:
        scheme, _, host = self.server.partition("://")
        is_plain = scheme == "http" and not _is_loopback(urlsplit(self.server).hostname or "")
        query = f"?{urlencode(self.query, safe=',')}" if self.query else ""
        return f"{'cvat+http' if is_plain else 'cvat'}://{host}/{self.kind}/{self.number}{query}"


def is_cvat_uri(text: str) -> bool:
    """Return True for `cvat://...` and `cvat+http://...`."""
    return "://" in text and text.split("://", 1)[0] in _SCHEMES


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
