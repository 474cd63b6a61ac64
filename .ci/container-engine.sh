#!/usr/bin/env bash
# A real Docker Engine and a base image on a bare Debian machine: no registry, no systemd.
#
#   eval "$(.ci/container-engine.sh)"     starts what is not there yet, prints DOCKER_HOST, DOCKER, BASE_IMAGE
#
# With DOCKER_HOST set, or an engine that answers already, that engine is used as it is. A BASE_IMAGE
# that is not named local/... is pulled; the default is made here.
# The state (images, layer cache) lives in DOCKER_STATE and is kept between runs.
set -euo pipefail
STATE=${DOCKER_STATE:-/var/tmp/segmentor-docker}
BASE=${BASE_IMAGE:-local/python:3.11}

say() { echo "[$SECONDS s] $*" >&2; }

# Installs Debian packages, all of them at once where one is missing.
install_packages() {
  local package
  for package in "$@"; do
    if ! dpkg -s "$package" >/dev/null 2>&1; then
      { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; } >&2
      return
    fi
  done
}

start_engine() {
  mkdir -p "$STATE"
  export DOCKER_HOST="unix://$STATE/docker.sock"
  docker info >/dev/null 2>&1 && return
  # Another start may have left its pid file behind when the machine went down.
  rm -f "$STATE/dockerd.pid"
  # The engine outlives this script: a file that the caller holds (a lock, say) must not stay open.
  (
    for descriptor in /proc/self/fd/*; do
      descriptor=${descriptor##*/}
      if [ "$descriptor" -gt 2 ]; then eval "exec $descriptor>&-"; fi
    done
    exec setsid nohup dockerd --data-root "$STATE/data" --exec-root "$STATE/exec" \
      --pidfile "$STATE/dockerd.pid" --host "$DOCKER_HOST" >"$STATE/dockerd.log" 2>&1 </dev/null
  ) &
  for _ in $(seq 480); do
    docker info >/dev/null 2>&1 && return
    sleep 0.25
  done
  tail -20 "$STATE/dockerd.log" >&2
  echo "error: the engine does not answer; see $STATE/dockerd.log" >&2
  exit 1
}

# A stand-in for python:3.11-slim made of Debian's packages: no registry has to be reached. It only
# ever bears a name of its own, so that nobody takes it for the image of a registry.
make_base_image() {
  docker image inspect "$BASE" >/dev/null 2>&1 && return
  if [[ $BASE != local/* ]]; then
    docker pull "$BASE" >&2
    return
  fi
  # An engine that was there before this script says nothing about mmdebstrap.
  command -v mmdebstrap >/dev/null || install_packages mmdebstrap
  local mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | head -1)
  mmdebstrap --quiet --mode=root --variant=minbase --aptopt='Acquire::Languages "none"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-include=/usr/share/locale/locale.alias' \
    --include=python3,python3-venv,python3-pip,ca-certificates \
    --customize-hook='rm -f "$1"/usr/lib/python3.*/EXTERNALLY-MANAGED; ln -sf python3 "$1"/usr/bin/python' \
    bookworm - "$mirror" |
    docker import --change 'ENV LANG=C.UTF-8' --change 'CMD ["python3"]' - "$BASE" >/dev/null || {
    # Of a stream that broke off, docker keeps what came: the next run would take it for the image.
    docker image rm "$BASE" >/dev/null 2>&1 || true
    echo "error: no base image $BASE could be made" >&2
    exit 1
  }
}

if [ -z "${DOCKER_HOST:-}" ] && docker info >/dev/null 2>&1; then
  say "an engine answers already"
elif [ -z "${DOCKER_HOST:-}" ]; then
  install_packages docker.io mmdebstrap
  say "packages"
  start_engine
fi
say "engine"
make_base_image
say "base image $BASE"

# Debian's own client: it speaks BuildKit without a plug-in, which newer ones need.
client=docker
[ ! -x /usr/bin/docker ] || client=/usr/bin/docker
echo "export DOCKER_HOST='${DOCKER_HOST:-}' DOCKER='$client' BASE_IMAGE='$BASE'"
