#!/usr/bin/env bash
# Put EnergyPlus' data-centre example into a virtual environment: install_energyplus.sh VENV
#
# EnergyPlus itself is a wheel (pyenergyplus-lbnl, see requirements.txt) with weather but without this example. The
# source package of Sinergym 3.5.1 (MIT) brings it as epJSON; nothing else of that package is used.
set -euo pipefail
venv=$(cd "$1" && pwd)
python=$venv/bin/python
example=2ZoneDataCenterHVAC_wEconomizer.epJSON
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m pip download --quiet --no-deps --no-binary sinergym --dest "$work" sinergym==3.5.1 >"$work/pip.log" 2>&1 || true
if [ ! -f "$work/sinergym-3.5.1.tar.gz" ]; then
  cat "$work/pip.log" >&2
  echo "The source of Sinergym 3.5.1 must be downloadable with pip, but none arrived. Look at the lines above." >&2
  exit 1
fi
mkdir -p "$venv/share/energyplus"
tar -xzf "$work/sinergym-3.5.1.tar.gz" -C "$work"
cp "$work/sinergym-3.5.1/sinergym/data/buildings/$example" "$venv/share/energyplus/"
