#!/bin/sh
# The XML schema of MPEG-DASH (ISO/IEC 23009-1, 5th edition with amendment 1), which is not ours to hand on: into
# node_modules/.cache/sluice/mpd, where the test of manifests finds it. Needs git; xmllint is in libxml2-utils.
set -eu
cd "$(dirname "$0")/../../.."
to=node_modules/.cache/sluice/mpd
from=${1:-https://github.com/MPEGGroup/DASHSchema}
mkdir -p "$to"
git clone -q --depth 1 --branch 5th-Ed-AMD1 "$from" "$to/schema.new"
cp "$to/schema.new/DASH-MPD.xsd" "$to/"
rm -rf "$to/schema.new"
# It names one foreign schema by address; what a manifest of ours needs of that is its attributes.
cat > "$to/xlink.xsd" <<'XLINK'
<?xml version="1.0" encoding="UTF-8"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="http://www.w3.org/1999/xlink">
  <xs:attribute name="href" type="xs:anyURI"/>
  <xs:attribute name="type" type="xs:string"/>
  <xs:attribute name="show" type="xs:string"/>
  <xs:attribute name="actuate" type="xs:string"/>
</xs:schema>
XLINK
sed -i.bak 's#schemaLocation="http[^"]*xlink.xsd"#schemaLocation="xlink.xsd"#' "$to/DASH-MPD.xsd"
rm -f "$to/DASH-MPD.xsd.bak"
