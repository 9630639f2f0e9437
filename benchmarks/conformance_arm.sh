#!/usr/bin/env bash
# The CPU targets' tables and claims on 64-bit Arm: Debian's Python and onnxruntime's own wheel under QEMU's user mode.
#
#     benchmarks/conformance_arm.sh [ONNXRUNTIME_RELEASE] [--write]
#
# Needs apt (no root), pip and qemu-user-static. What is unpacked stays in the user's cache, where `onnxslim verify --cpus arm`
# finds it. Nothing is timed: emulation tells which kernels run and what they answer, never how fast.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
release=1.32.0
case "${1:-}" in ""|--*) ;; *) release=$1; shift ;; esac
python=${PYTHON:-python3}
folder=${XDG_CACHE_HOME:-$HOME/.cache}/onnxslim/arm64
debian=${DEBIAN:-bookworm}  # its Python has the version below
python_version=3.11
for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "$tool is not here: this needs Debian or Ubuntu"; exit 4; }
done
command -v qemu-aarch64-static >/dev/null || command -v qemu-aarch64 >/dev/null ||
    { echo "qemu-aarch64 is not here: apt install qemu-user-static"; exit 4; }

if [ ! -x "$folder/root/usr/bin/python$python_version" ]; then
    # the mirror that this machine takes Debian's packages from, where it is a Debian; else one has to be named
    mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 'debian/\?$' || true)}
    [ -n "$mirror" ] || { echo "no mirror of Debian is known here: DEBIAN_MIRROR=http://HOST/debian $0"; exit 4; }
    echo "unpacking Debian's Python $python_version for arm64 into $folder/root"
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    mkdir -p "$scratch"/{lists/partial,cache/archives/partial,preferences.d} "$folder/root"
    : > "$scratch/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $debian main" \
        > "$scratch/sources.list"
    apt=(apt-get -qq -y -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$scratch"
        -o Dir::State::status="$scratch/status" -o Dir::Cache="$scratch/cache" -o Dir::Etc::sourcelist="$scratch/sources.list"
        -o Dir::Etc::sourceparts=- -o Dir::Etc::preferencesparts="$scratch/preferences.d" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    "${apt[@]}" --no-install-recommends --download-only install python3-minimal "libpython$python_version-stdlib" libstdc++6
    for package in "$scratch"/cache/archives/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
    # the runtime asks the kernel for its processors, and falls over those of this machine
    mkdir -p "$folder"/root/{proc,sys/devices/system/cpu}
    for list in possible present kernel_max; do echo 0 > "$folder/root/sys/devices/system/cpu/$list"; done
    printf '%s\n' 'processor : 0' 'Features : fp asimd' 'CPU implementer : 0x41' 'CPU architecture: 8' 'CPU variant : 0x0' \
        'CPU part : 0xd08' 'CPU revision : 3' '' > "$folder/root/proc/cpuinfo"
fi
if [ ! -d "$folder/site/onnxruntime-$release.dist-info" ]; then
    echo "unpacking onnxruntime $release for aarch64 into $folder/site"
    rm -rf "$folder/site"
    platforms=(--platform={manylinux_2_28,manylinux_2_27,manylinux_2_17,manylinux2014}_aarch64)
    # what the library imports on the way to the checks; of no use under emulation is the rest
    "$python" -m pip install --quiet --no-compile --target "$folder/site" "${platforms[@]}" \
        --python-version "$python_version" --only-binary=:all: "onnxruntime==$release" "numpy>=2.0" onnx onnx-ir \
        cattrs pyyaml scipy threadpoolctl
fi
PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH} exec "$python" "$here/benchmarks/conformance.py" --processors "$@"
