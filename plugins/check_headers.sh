#!/bin/sh
# Compiles the plugin library, warnings being errors, against each of several TensorRT header folders.
#
# usage: check_headers.sh BUILD_FOLDER TENSORRT_HEADERS...
#
# Headers of a version TensorRT's public repository has tagged: git archive v10.3.0 include | tar -x -C FOLDER
# SPARSEVIT_CUDA_ARCHITECTURES names what the kernels are compiled for, 87 otherwise.
set -eu

if [ $# -lt 2 ]; then
    sed -n '4s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
build=$1
shift
number=0
for headers; do
    headers=$(cd "$headers" && pwd) # CMake would take it as relative to its own folder
    number=$((number + 1))
    cmake -S "$here/.." -B "$build/$number" -DTENSORRT_INCLUDE_DIR="$headers" \
        -DSPARSEVIT_CUDA_ARCHITECTURES="${SPARSEVIT_CUDA_ARCHITECTURES:-87}" \
        -DSPARSEVIT_REQUIRE_PLUGINS=ON | grep "SparseViT:"
    cmake --build "$build/$number" --parallel 2 >"$build/$number/log" 2>&1 || {
        cat "$build/$number/log"
        echo "check_headers.sh: the library does not compile against $headers" >&2
        exit 1
    }
done
