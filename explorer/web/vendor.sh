#!/bin/sh
# Copies the scripts of the explorer and of its tests out of the packages that package-lock.json pins by hash, and
# writes their sha256, which the tests compare. Run it after a change of package.json, and commit what it writes.
set -eu
cd "$(dirname "$0")"
npm ci --ignore-scripts --no-audit --no-fund
mkdir -p ../static/vendor ../../tests/explorer/vendor
cp node_modules/htmx.org/dist/htmx.min.js node_modules/uplot/dist/uPlot.iife.min.js \
  node_modules/uplot/dist/uPlot.min.css ../static/vendor/
cp node_modules/axe-core/axe.min.js ../../tests/explorer/vendor/
rm -r node_modules
cd ../..
sha256sum explorer/static/vendor/* tests/explorer/vendor/* > explorer/web/vendored.sha256
