#!/bin/sh
# Debian and Ubuntu packages that the tests need beyond Python: a browser for the page, a Redis server for the answer
# cache, PostgreSQL for what must last, Chinese fonts for drawing.
set -eu
as_root=''
[ "$(id -u)" = 0 ] || as_root=sudo
missing=''
for package in chromium redis-server postgresql fonts-noto-cjk fonts-wqy-microhei fonts-wqy-zenhei fonts-arphic-ukai fonts-arphic-uming; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
$as_root apt-get update -qq
# shellcheck disable=SC2086  # a list of packages
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing
