#!/usr/bin/env bash
# Builds the container images: images/build.sh [data|trainer|predictor ...] [-- docker build's options]
#
#   images/build.sh                                                  all three
#   images/build.sh trainer -- --build-arg "TORCH_INDEX_URL=$TORCH_INDEX_URL"
#   REGISTRY=registry.example/vision images/build.sh data predictor
#
# REGISTRY: prefix of the names (default none), DOCKER: the client (default docker).
set -euo pipefail
cd "$(dirname "$0")/.."

names=()
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
  [ -f "images/$1.Dockerfile" ] || { echo "error: no image '$1', expected data, trainer or predictor" >&2; exit 2; }
  names+=("$1"); shift
done
[ $# -eq 0 ] || shift
[ ${#names[@]} -gt 0 ] || names=(data trainer predictor)

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# Of what an image is made of; a change elsewhere (a test, a page) is in no image.
sources=(pyproject.toml constraints.txt images segmentor components serving)
[ -z "$(git status --porcelain -- "${sources[@]}" 2>/dev/null)" ] || revision+=-dirty
for name in "${names[@]}"; do
  tag="${REGISTRY:+$REGISTRY/}segmentor-$name:$version"
  DOCKER_BUILDKIT=1 "${DOCKER:-docker}" build --file "images/$name.Dockerfile" --tag "$tag" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" "$@" .
  echo "built $tag"
done
