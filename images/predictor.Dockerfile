# What serves a model under KServe: no torch.
# Build from the repository's root; images/build.sh builds all three.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# Its output alone invalidates the dependencies' layer, not every change of pyproject.toml.
FROM ${BASE_IMAGE} AS requirements
# For a GPU: 'onnxruntime-gpu[cuda,cudnn]==1.31.1' (overlays/gpu); it needs the driver of CUDA 13.
ARG ONNXRUNTIME=onnxruntime
# For faster engines on a CPU: predictor,openvino (overlays/fast).
ARG EXTRAS=predictor
WORKDIR /build
COPY pyproject.toml images/requirements.py ./
RUN python requirements.py "${EXTRAS}" > requirements.txt \
    && sed -i "s/^onnxruntime$/${ONNXRUNTIME}/" requirements.txt

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
    # What OpenVINO, if installed, has for devices that this image never uses: 60 MB.
    && find /opt/venv -path '*/openvino/libs/*' \
        \( -name '*_gpu_plugin.so' -o -name '*_npu_plugin.so' -o -name cache.json \) -delete \
    && echo /app > "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/app.pth"

FROM dependencies AS source
# Only what the predictor may import; segmentor/nn needs torch and stays out.
WORKDIR /app
COPY segmentor/*.py segmentor/*.j2 segmentor/
# The gateway for CVAT encodes shapes.
COPY segmentor/cvat/__init__.py segmentor/cvat/shapes.py segmentor/cvat/
COPY serving serving
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE_IMAGE}
# HOME and every cache in /tmp: any uid can write there, also with a read-only root file system.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=source /app /app
WORKDIR /app
USER 1000:0
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="segmentor-predictor" \
      org.opencontainers.image.description="Segmentor's KServe predictor" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
EXPOSE 8080 8081
# KServe gives arguments alone: the runtime's manifest has the flags.
ENTRYPOINT ["python", "-m", "serving"]
