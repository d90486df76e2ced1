#!/usr/bin/env bash
# barge beside skopeo: wall clock, processor time, peak memory and requests of the same copies.
#
#   benches/compare.sh                    many, again, big, arch
#   benches/compare.sh big                one of them; memory moves 2 × 16 GB and has to be asked for
#   benches/compare.sh many --rounds 5    --help lists every option
#
# many    50 small tags (4 platforms, 2 own layers each and one that all share) into an empty registry: once
#         with 20 ms of delay before every request at both sides, once without
# again   the same unchanged, with the delay: barge with --recheck none, barge, skopeo
# big     an index of one image with 2 layers of 100 MB; the floor is two bare HTTP clients that hash
# arch    one platform of an index with four such images; skopeo writes the image without an index
# memory  16 layers of 1 GB at once, from a generator in memory to a server that throws them away
# proxies how many requests a second the counting proxies pass, and how exact their delay is
#
# The registries are Debian's docker-registry, without a cache of blob descriptors. Their data lie in $TMPDIR,
# or in /dev/shm, so that no disk is measured. skopeo copies many tags by `skopeo sync --all`, which is the
# only way it has. The tools take turns (A B A B); every run, but those of again, gets an empty registry.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v docker-registry >/dev/null || missing+=(docker-registry)
command -v skopeo >/dev/null || missing+=(skopeo)
# The shell has a `time` of its own: only GNU's tells the peak memory.
type -P time >/dev/null || missing+=(time)
if [ ${#missing[@]} -gt 0 ]; then
  echo "benches/compare.sh: install ${missing[*]} first (Debian has packages of these names)" >&2
  exit 1
fi

if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then
  export TMPDIR=/dev/shm
fi
exec cargo bench --locked --bench compare -- "$@"
