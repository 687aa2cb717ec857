#!/bin/sh
# What the tests need beyond Python, from Debian or Ubuntu: a browser for the page, a Redis server for the answer cache,
# PostgreSQL for what must last, Chinese fonts for drawing, Node for WeCom's own packages, which npm then fetches.
set -eu
as_root=''
[ "$(id -u)" = 0 ] || as_root=sudo
missing=''
for package in chromium redis-server postgresql fonts-noto-cjk fonts-wqy-microhei fonts-wqy-zenhei fonts-arphic-ukai fonts-arphic-uming; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
command -v npm >/dev/null || missing="$missing nodejs npm" # a Node from elsewhere brings its npm with it
if [ -n "$missing" ]; then
  $as_root apt-get update -qq
  # shellcheck disable=SC2086  # a list of packages
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing
fi
foreign="$(dirname "$0")/../tests/deployments/wecom/foreign"
[ -d "$foreign/node_modules" ] || npm ci --prefix "$foreign" --ignore-scripts --no-audit --no-fund --loglevel=error ||
  echo "npm could not fetch WeCom's packages: the tests that need them will say so" >&2
