#!/usr/bin/env bash
# Everything that must hold before a change lands: format, lints, documentation, tests.
#
# The tests run the binary against Debian's docker-registry and skopeo, and containerd, podman and umoci read its
# archives. Where these are missing and this may install packages, it does.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
for tool in containerd docker-registry podman skopeo umoci; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "tests/run.sh: install ${missing[*]} first (Debian has packages of these names)" >&2
    exit 1
  fi
  root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  "${root[@]}" apt-get update -q
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

export RUSTFLAGS="${RUSTFLAGS--D warnings}"
export RUSTDOCFLAGS="${RUSTDOCFLAGS--D warnings}"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR-never}"
cargo fmt --check
cargo clippy --locked --all-targets
cargo doc --locked --no-deps --quiet
cargo test --locked
