# What convert_labels, split, deploy, choose, propose and predict_batch run in: no torch.
# Build from the repository's root; images/build.sh builds all three.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# Its output alone invalidates the dependencies' layer, not every change of pyproject.toml.
FROM ${BASE_IMAGE} AS requirements
WORKDIR /build
COPY pyproject.toml images/requirements.py ./
RUN python requirements.py data > requirements.txt

FROM ${BASE_IMAGE} AS dependencies
# pip 24.1 and later refuse the metadata of Catalyst 22.4 (docs/decisions/0001-pip-24.0.md).
ARG PIP_VERSION=24.0
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt ./
COPY --from=requirements /build/requirements.txt ./
# The secrets are optional: a pip.conf and a CA bundle for networks that need their own.
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/secrets/ca.crt \
    python -m pip install pip==${PIP_VERSION} \
    && python -m pip install --constraint constraints.txt --requirement requirements.txt \
    && python -m pip uninstall --yes pip \
    && find /opt/venv -type d -name tests -prune -exec rm -r {} + \
    && echo /app > "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/app.pth"

FROM dependencies AS source
# Only what these steps may import; segmentor/nn needs torch and stays out.
WORKDIR /app
COPY segmentor/*.py segmentor/*.j2 segmentor/
COPY segmentor/cvat segmentor/cvat
COPY segmentor/ranking segmentor/ranking
COPY components/*.py components/
COPY components/convert_labels components/convert_labels
COPY components/split components/split
COPY components/deploy components/deploy
# deploy's gate has export's limits, and its check looks at export's options.
COPY components/export/options.py components/export/
COPY components/choose components/choose
COPY components/propose components/propose
COPY components/predict_batch components/predict_batch
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE_IMAGE}
# HOME and every cache in /tmp: any uid can write there, also with a read-only root file system.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=source /app /app
WORKDIR /app
USER 1000:0
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="segmentor-data" \
      org.opencontainers.image.description="Segmentor's steps convert_labels, split, deploy, choose, propose and predict_batch" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# No ENTRYPOINT: Kubeflow's launcher and its local runner give the whole command.
CMD ["python", "--version"]
