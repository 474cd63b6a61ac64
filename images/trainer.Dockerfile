# What train, evaluate and export run in.
# Build from the repository's root; images/build.sh builds all three.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# Its output alone invalidates the dependencies' layer, not every change of pyproject.toml.
FROM ${BASE_IMAGE} AS requirements
WORKDIR /build
COPY pyproject.toml images/requirements.py ./
RUN python requirements.py trainer > requirements.txt

FROM ${BASE_IMAGE} AS dependencies
# pip 24.1 and later refuse the metadata of Catalyst 22.4 (docs/decisions/0001-pip-24.0.md).
ARG PIP_VERSION=24.0
# Empty: the default torch, with CUDA. Else the address of an index that has another build of the
# same version: PyTorch names those of its CPU and CUDA builds on its installation page.
ARG TORCH_INDEX_URL=""
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
    && if [ -n "${TORCH_INDEX_URL}" ]; then \
         python -m pip install --index-url "${TORCH_INDEX_URL}" --constraint constraints.txt \
           torch torchvision; \
       fi \
    && python -m pip install --constraint constraints.txt --requirement requirements.txt \
    && python -m pip uninstall --yes pip \
    && echo /app > "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/app.pth"

FROM dependencies AS source
# Only what these steps may import.
WORKDIR /app
COPY segmentor/*.py segmentor/*.j2 segmentor/
COPY segmentor/nn segmentor/nn
COPY components/*.py components/
COPY components/train components/train
COPY components/evaluate components/evaluate
COPY components/export components/export
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE_IMAGE}
# HOME and every cache in /tmp: any uid can write there, also with a read-only root file system.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    TORCH_HOME=/tmp/torch \
    HF_HOME=/tmp/huggingface \
    NO_ALBUMENTATIONS_UPDATE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=source /app /app
WORKDIR /app
USER 1000:0
ARG VERSION=0.1.0
ARG REVISION=unknown
# Training writes it into the contract's provenance.
ENV SEGMENTOR_GIT_REVISION=${REVISION}
LABEL org.opencontainers.image.title="segmentor-trainer" \
      org.opencontainers.image.description="Segmentor's steps train, evaluate and export" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# No ENTRYPOINT: Kubeflow's launcher and its local runner give the whole command.
CMD ["python", "--version"]
