#!/usr/bin/env bash
# Prints what the wasm presets of CMakePresets.json want in the environment:
#
#   eval "$(bash tools/env.sh)" && cmake --workflow --preset wasm-simd
set -euo pipefail
cd "$(dirname "$0")/.."
node tools/setup.mjs >&2
printf 'export EMSCRIPTEN_ROOT=%q\n' "${EMSCRIPTEN_ROOT:-$(cat .cache/emscripten-root)}"
