#!/usr/bin/env bash
# The container tier: a real engine, the images, and every test that is marked `docker`.
# Layers are kept between runs on one machine, so only the first run installs the dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."

engine=$(.ci/container-engine.sh)
eval "$engine"

# Networks that sign TLS anew: the build sees the host's CA bundle, the images never hold it.
secrets=$(mktemp -d)
trap 'rm -rf "$secrets"' EXIT
bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
printf '[global]\ncert = /run/secrets/ca.crt\n' >"$secrets/pip.conf"

echo "== [$SECONDS s] images"
build() {
  images/build.sh "$@" --progress plain --build-arg "BASE_IMAGE=$BASE_IMAGE" \
    --secret "id=pip_conf,src=$secrets/pip.conf" --secret "id=ca,src=$bundle" >"$secrets/build.log" 2>&1 ||
    { tail -60 "$secrets/build.log" >&2; echo "error: an image does not build" >&2; exit 1; }
}
# First, for build.sh gives it the default predictor's tag too.
build predictor -- --build-arg EXTRAS=predictor,openvino --tag segmentor-predictor:openvino
build --
# What no tag names any more, and cache beyond what one set of images takes.
"$DOCKER" image prune --force >/dev/null
DOCKER_BUILDKIT=1 "$DOCKER" builder prune --force --keep-storage 20GB >/dev/null
"$DOCKER" images --filter 'reference=segmentor-*'

echo "== [$SECONDS s] tests that need the engine"
make setup
.venv/bin/python -m pytest -m docker
