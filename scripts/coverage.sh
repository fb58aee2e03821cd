#!/usr/bin/env bash
# Which lines the tests of the sanitize build ran: percent by folder, then the files below 90 %. After ./test sanitize.
# usage: scripts/coverage.sh [--files]   (--files: every file)
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/sanitize
version=$(clang -dumpversion | cut -d. -f1)
tool() { command -v "$1-$version" || command -v "$1" || { echo "coverage.sh: $1 is missing: install Debian's package llvm" >&2; exit 1; }; }
profdata=$(tool llvm-profdata)
cov=$(tool llvm-cov)
ls "$build"/profiles/*.profraw > /dev/null 2>&1 || { echo "coverage.sh: no profiles in $build/profiles: run ./test sanitize first" >&2; exit 1; }
"$profdata" merge -sparse --failure-mode=all "$build"/profiles/*.profraw -o "$build/profiles/all.profdata" 2> /dev/null
objects=()
for program in "$build"/moeclip "$build"/tests/*; do
  [ -f "$program" ] && [ -x "$program" ] && objects+=(-object "$program")
done
"$cov" export -summary-only -instr-profile "$build/profiles/all.profdata" "${objects[@]:1:1}" "${objects[@]:2}" > "$build/profiles/summary.json" 2> /dev/null
python3 - "$build/profiles/summary.json" "${1:-}" <<'PY'
import collections, json, os, sys
root = os.getcwd() + "/src/"
folders, files = collections.defaultdict(lambda: [0, 0]), []
for f in json.load(open(sys.argv[1]))["data"][0]["files"]:
    if not f["filename"].startswith(root):
        continue
    name, lines = f["filename"][len(root):], f["summary"]["lines"]
    files.append((100 * lines["covered"] / max(lines["count"], 1), name, lines["covered"], lines["count"]))
    for key in (name.split("/")[0], "all"):
        folders[key][0] += lines["covered"]
        folders[key][1] += lines["count"]
for name, (covered, count) in sorted(folders.items(), key=lambda x: (x[0] == "all", x[0])):
    print(f"{name:10} {100 * covered / count:5.1f} % of {count} lines")
for percent, name, covered, count in sorted(files):
    if sys.argv[2] == "--files" or percent < 90:
        print(f"  {percent:5.1f} %  {name} ({count - covered} of {count} lines never ran)")
PY
