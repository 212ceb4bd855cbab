#!/usr/bin/env bash
# Install PufferLib 3.0.0 with its C CartPole into a virtual environment: install_pufferlib.sh VENV
#
# The package's own build wants CUDA-capable torch and downloads two C libraries for its games. CartPole needs
# neither: its one C file is compiled here with the flags of the package's setup.py (-O2 -flto) against the
# raylib that the source package brings. Needs gcc and the headers of Python. Linux on x86-64 only.
set -euo pipefail
venv=$(cd "$1" && pwd)
python=$venv/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# pip unpacks the source, cannot prepare its metadata (no torch here), and with --no-clean leaves it in TMPDIR.
TMPDIR=$work "$python" -m pip download --quiet --no-deps --no-clean --no-build-isolation --no-binary pufferlib \
  --dest "$work/none" pufferlib==3.0.0 >"$work/pip.log" 2>&1 || true
source=$(find "$work" -maxdepth 2 -type d -name 'pufferlib_*' | head -n 1)
if [ ! -f "$source/pufferlib/ocean/cartpole/binding.c" ]; then
  cat "$work/pip.log" >&2
  echo "The source of PufferLib 3.0.0 must be downloadable with pip, but no source arrived. Look at the lines above." >&2
  exit 1
fi

cd "$source"
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
numpy=$("$python" -c 'import numpy; print(numpy.get_include())')
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
gcc -shared -fPIC -DNDEBUG -fwrapv -DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION -DPLATFORM_DESKTOP -O2 -flto \
  -Wno-alloc-size-larger-than -Wno-implicit-function-declaration -Wl,-Bsymbolic-functions \
  -I"$include" -I"$numpy" -Iraylib-5.5_linux_amd64/include pufferlib/ocean/cartpole/binding.c \
  raylib-5.5_linux_amd64/lib/libraylib.a -lm -lpthread -ldl \
  -o "pufferlib/ocean/cartpole/binding$suffix"

packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -rf "$packages/pufferlib"
cp -r pufferlib "$packages/"
