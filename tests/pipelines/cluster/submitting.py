"""Submits to the recorded server as tests do: credentials and address by an environment alone."""

import io

from pipelines.cluster.submission import submit

SOURCE = {"source": "s3://datasets/task.zip"}


def environment(address: str, **more: str) -> dict[str, str]:
    return {"KF_PIPELINES_ENDPOINT": address, **more}


def submitted(server, parameters=SOURCE, variables=None, **options):
    stream = io.StringIO()
    where = environment(server[0], **(variables or {}))
    result = submit(parameters, environment=where, stream=stream, **options)
    return result, stream.getvalue()
