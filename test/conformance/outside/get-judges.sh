#!/usr/bin/env bash
# Fetches and builds the validators that others wrote: ISOSegmentValidator, ComplianceWarden, GPAC, Bento4.
#
#   test/conformance/outside/get-judges.sh FOLDER
#   SLUICE_JUDGES=FOLDER/bin npm test -- test/conformance/outside
#
# Needs git, make, cmake, g++, nasm, pkg-config and zlib's headers:
#   apt-get install git make cmake g++ nasm pkg-config zlib1g-dev
# About five minutes on two cores. JUDGES_FROM says where the repositories are; MAKE_JOBS how many compilers run at once.
set -euo pipefail

folder=${1:?the folder to build in is missing}
from=${JUDGES_FROM:-https://github.com}
jobs=${MAKE_JOBS:-2}
mkdir -p "$folder/bin"
cd "$folder"

get() {
  [ -d "$2" ] || git clone --quiet --depth 1 "$from/$1" "$2"
}

get Dash-Industry-Forum/ISOSegmentValidator iso-segment-validator
(cd iso-segment-validator/public/linux && mkdir -p obj bin && make -s >/dev/null 2>&1)
cp iso-segment-validator/public/linux/bin/ValidateMP4.exe bin/ISOSegmentValidator

get gpac/ComplianceWarden compliance-warden
# Its own self-test is left out: only the program is wanted.
(cd compliance-warden && make -s -j"$jobs" bin/cw.exe)
cp compliance-warden/bin/cw.exe bin/ComplianceWarden

get axiomatic-systems/Bento4 bento4
cmake -S bento4 -B bento4/out -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build bento4/out --parallel "$jobs" --target mp4dump mp4info >/dev/null
cp bento4/out/mp4dump bento4/out/mp4info bin/

get gpac/gpac gpac
(cd gpac && ./configure --static-bin >/dev/null && make -s -j"$jobs" >/dev/null)
cp gpac/bin/gcc/MP4Box gpac/bin/gcc/gpac bin/

echo "judges are in $folder/bin: $(ls bin | tr '\n' ' ')"
