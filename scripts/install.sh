#!/bin/sh
# Makes .venv and installs what constraints.txt pins, unless that is done. PYTHON names the interpreter; without it, the
# newest on the PATH that the pins support is taken, and a .venv that works is kept. A .venv whose installation did not
# come to its end, whose interpreter has gone, or that was made elsewhere is made anew.
set -eu
cd "$(dirname "$0")/.."
venv=.venv
done_mark=$venv/.installed
PATH=$(printf %s "$PATH" | tr : '\n' | grep -vxF "$PWD/$venv/bin" | paste -sd: -) # it is not to be made from itself

fits='
import sys
sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) and sys.maxsize > 2**32 else 3)'
makes_venvs='
import ensurepip, venv'
version='
import sys
print("%d.%d" % sys.version_info[:2])'

say() { echo "install: $*" >&2; }

suits() { "$1" -c "$fits" >/dev/null 2>&1 && "$1" -c "$makes_venvs" >/dev/null 2>&1; }

version_of() { "$1" -c "$version" 2>/dev/null || true; }

find_python() {
  without_venv=''
  for name in python3.13 python3.12 python3.11 python3 python; do
    if suits "$name"; then echo "$name"; return; fi
    if "$name" -c "$fits" >/dev/null 2>&1; then without_venv=${without_venv:-$name}; fi
  done
  if [ -n "$without_venv" ]; then
    say "$without_venv has no venv module: install it (on Debian and Ubuntu: apt install python$(version_of "$without_venv")-venv)"
  else
    say 'no Python 3.11, 3.12 or 3.13 on the PATH: install one, or name one with make PYTHON=/path/to/python'
  fi
  return 1
}

demand_python() {
  suits "$1" && return
  if ! command -v "$1" >/dev/null 2>&1; then say "PYTHON=$1: there is no such program"
  elif [ -z "$(version_of "$1")" ]; then say "PYTHON=$1 does not run as a Python interpreter"
  elif ! "$1" -c "$fits" >/dev/null 2>&1; then say "PYTHON=$1 is a Python $(version_of "$1"): it takes a 64-bit 3.11, 3.12 or 3.13"
  else say "PYTHON=$1 has no venv module: install it (on Debian and Ubuntu: apt install python$(version_of "$1")-venv)"
  fi
  return 1
}

# Why .venv cannot stay; nothing if it can.
unfit() {
  if [ ! -f "$done_mark" ]; then echo 'its installation did not come to its end'
  elif ! grep -qF "$PWD/$venv" $venv/bin/activate; then echo 'it was made in another folder, which its scripts name'
  elif [ -z "$(version_of $venv/bin/python)" ]; then echo 'its interpreter has gone'
  elif [ -n "${PYTHON:-}" ] && [ "$(version_of "$PYTHON")" != "$(version_of $venv/bin/python)" ]; then
    echo "it has Python $(version_of $venv/bin/python), and PYTHON=$PYTHON is $(version_of "$PYTHON")"
  fi
}

if [ -n "${PYTHON:-}" ]; then demand_python "$PYTHON"; fi
if [ -e "$venv" ]; then
  reason=$(unfit)
  if [ -z "$reason" ] && [ -z "$(find pyproject.toml constraints.txt -newer "$done_mark")" ]; then exit 0; fi
  if [ -n "$reason" ]; then
    say "$venv is made anew: $reason"
    rm -rf "$venv"
  fi
fi
if [ ! -e "$venv" ]; then
  python=${PYTHON:-$(find_python)}
  say "$venv with Python $(version_of "$python") ($(command -v "$python")); some 2 GB are downloaded the first time"
  "$python" -m venv "$venv" || { rm -rf "$venv"; say "$python could not make a virtual environment: its words are above"; exit 1; }
fi

# Without the mark, whatever ends this now leaves a .venv that the next run makes anew. Where pip gives up by itself, it
# has changed nothing: an environment that worked goes on working.
if [ -f "$done_mark" ]; then mv "$done_mark" "$venv/.before"; fi
if ! $venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'; then
  if [ -f "$venv/.before" ]; then mv "$venv/.before" "$done_mark"; fi
  say "pip could not install the packages: its words are above. It needs a connection to its package index (see pip config) and room on the disk; then run make again"
  exit 1
fi
rm -f "$venv/.before"
touch "$done_mark"
