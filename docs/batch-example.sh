#!/bin/sh
# Compress a folder of pictures, resumably, and write what was done and what was not:
#
#     sh batch-example.sh PICTURES OUT [LEVEL]
#
# OUT gets the .dlc files in the tree of PICTURES, done.jsonl with a line a file, and failed.txt, a list of those that
# failed, one path a line. Running the script again tries them once more, and makes only what is missing.
set -u
pictures=$1 out=$2 level=${3:-5}
dlcodec=${DLCODEC:-dlcodec}

mkdir -p "$out" || exit
$dlcodec --quiet encode -r "$pictures" --out-dir "$out" --level "$level" --jobs 2 --resume --json > "$out/done.jsonl"
code=$?
[ "$code" -lt 128 ] && [ -s "$out/done.jsonl" ] || exit "$code"

python3 - "$out" <<'END'
import json, pathlib, sys

out = pathlib.Path(sys.argv[1])
lines = [json.loads(line) for line in (out / "done.jsonl").read_text().splitlines()]
failed = [line["input"] for line in lines if "error" in line]
(out / "failed.txt").write_text("".join(f"{name}\n" for name in failed))
good = [line for line in lines if line["output"]]
left_out = sum("left_out" in line for line in lines)
size, pixels = sum(line["bytes"] for line in good), sum(line["width"] * line["height"] for line in good)
print(f"{len(good)} pictures, {size} bytes, {8 * size / max(1, pixels):.3f} bpp; {len(failed)} failed, {left_out} left out")
END
exit "$code"
