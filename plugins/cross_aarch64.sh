#!/bin/sh
# Builds the plugin library for Jetson on an x86-64 machine and loads it under qemu.
#
# usage: cross_aarch64.sh BUILD_FOLDER TENSORRT_HEADERS [ARCHITECTURES]
#
# Needs nvcc, aarch64-linux-gnu-g++ (Debian, Ubuntu: g++-aarch64-linux-gnu), CMake 3.22, and qemu-aarch64 (qemu-user).
# CUDART_AARCH64 names a folder with the aarch64 libcudart_static.a and libcudadevrt.a (a cross toolkit has them in
# targets/aarch64-linux/lib); without it NVIDIA's wheel is downloaded into the build folder with pip.
set -eu

if [ $# -lt 2 ]; then
    sed -n '4,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
build=$(cd "$1" && pwd)
headers=$2
architectures=${3:-}

for tool in nvcc aarch64-linux-gnu-g++ cmake qemu-aarch64; do
    if ! command -v "$tool" >/dev/null; then
        echo "cross_aarch64.sh: $tool is not on PATH" >&2
        exit 3
    fi
done

# nvcc looks for the target's own headers; those of the host's toolkit are the same.
include=$(nvcc --dryrun -x cu -c /dev/null 2>&1 | sed -n 's/^#\$ INCLUDES="-I\([^"]*\)".*/\1/p')
cudart=${CUDART_AARCH64:-$build/cudart/nvidia/cu13/lib}
if [ ! -f "$cudart/libcudart_static.a" ]; then
    version=$(nvcc --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
    echo "cross_aarch64.sh: fetching the CUDA $version runtime for aarch64"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
        --dest "$build/wheels" "nvidia-cuda-runtime==$version.*"
    python3 -m zipfile -e "$build"/wheels/nvidia_cuda_runtime-*aarch64*.whl "$build/cudart"
fi

# The linker finds the target's static CUDA runtime before it passes over the host's.
CXXFLAGS="-isystem $include" CUDAFLAGS="-I$include -L$cudart" cmake -S "$here/.." -B "$build/library" \
    -DCMAKE_TOOLCHAIN_FILE="$here/aarch64-toolchain.cmake" -DCMAKE_CUDA_COMPILER=nvcc \
    -DCUDA_cudart_static_LIBRARY="$cudart/libcudart_static.a" -DTENSORRT_INCLUDE_DIR="$headers" \
    -DSPARSEVIT_CUDA_ARCHITECTURES="$architectures" -DSPARSEVIT_REQUIRE_PLUGINS=ON
cmake --build "$build/library" --parallel 2

library=$build/library/plugins/libsparsevit_plugins.so
aarch64-linux-gnu-g++ -std=c++17 -isystem "$headers" -isystem "$include" \
    "$here/../tests/plugins/tensorrt/probe_plugins.cpp" -o "$build/probe_plugins" -ldl
echo "cross_aarch64.sh: $library answers:"
qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/probe_plugins" "$library"
