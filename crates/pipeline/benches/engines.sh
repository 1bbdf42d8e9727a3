#!/usr/bin/env bash
# Engines with a real trtexec: built in every precision, timed, compared with the graph, inspected, called off.
#
#   engines.sh SIGHTLINE TRTEXEC PACKAGE IMAGES
#
# PRECISIONS (fp32 fp16 int8), LEVEL (how hard the builder tries) and SEARCH=no (leave the search for the largest batch out)
# make it shorter.
#
# PACKAGE is the folder of an import with `--precision fp32,fp16,int8`; IMAGES a folder of images like those it was trained
# on. Engines and logs go into the package. Prints one line a check; ends with the number that failed.
# shellcheck disable=SC2086  # $level is no word or two
set -uo pipefail
program=$1 trtexec=$2 package=$3 images=$4
name=$(basename "$package")
engines=$package/benchmarks/engines
level=${LEVEL:+--level $LEVEL}
read -ra precisions <<< "${PRECISIONS:-fp32 fp16 int8}"
last=${precisions[-1]}
failed=0
check() { if [ "$1" -eq 0 ]; then echo "ok    $2"; else echo "FAIL  $2"; failed=$((failed + 1)); fi; }
value() { python3 -c "import json, sys; v = json.load(open(sys.argv[1]))
for k in sys.argv[2].split('.'): v = v[int(k)] if k.isdigit() else v[k]
print(v)" "$1" "$2"; }

nvidia-smi --query-gpu=name,driver_version,memory.free --format=csv,noheader
for precision in "${precisions[@]}"; do
  echo "== $precision, batch 1:8:16"
  "$program" build "$package" --trtexec "$trtexec" --precision "$precision" $level --batch 1:8:16 --images "$images"
  check $? "$precision: built, timed, answers like its graph"
  "$program" inspect "$engines/${name}_dynamic_b16.engine"
  check $? "$precision: inspected"
done

echo "== the same again is reused"
"$program" build "$package" --trtexec "$trtexec" --precision "$last" $level --batch 1:8:16 --no-timing --no-compare 2>&1 |
  grep -q reused
check $? "reused"

echo "== its figures are trtexec's own"
"$program" build "$package" --trtexec "$trtexec" --precision fp16 $level --batch 1:8:16 --no-compare > /dev/null
input=$(value "$package/manifest.json" detector.input.tensor)
size=$(value "$package/manifest.json" detector.input.height)x$(value "$package/manifest.json" detector.input.width)
transfers=--noDataTransfers
"$trtexec" --help 2> /dev/null | head -1 | grep -q 'TensorRT v11' && transfers="--noCudaGraph --noSpinWait"
# shellcheck disable=SC2086
own=$("$trtexec" --loadEngine="$engines/${name}_dynamic_b16.engine" --shapes="$input:16x3x$size" $transfers \
  --warmUp=1000 --duration=10 | sed -n 's/.*Throughput: \([^ ]*\) qps/\1/p')
recorded=$(value "$package/measurements.json" tensorrt.batch_max.qps)
echo "   trtexec $own, recorded $recorded"
awk -v a="$own" -v b="$recorded" 'BEGIN { exit !(a > 0 && b > 0 && a / b < 1.1 && b / a < 1.1) }'
check $? "within 10 % of a run by hand"

echo "== called off"
"$program" build "$package" --trtexec "$trtexec" --precision fp16 $level --batch 1:8:32 --fresh --no-timing --no-compare &
child=$!
sleep 5
kill -INT $child
wait $child
[ $? -eq 130 ] && [ ! -e "$engines/${name}_dynamic_b32.engine" ] && ! pgrep -f "${name}_dynamic_b32|trtexec.*--skipInference" > /dev/null
check $? "ended with 130, no engine, no process left"

echo "== one batch only, and the search for the largest"
"$program" build "$package" --trtexec "$trtexec" $level --static-batch 4 --images "$images"
check $? "static batch 4"
if [ "${SEARCH:-yes}" = yes ]; then
  "$program" build "$package" --trtexec "$trtexec" $level --no-compare
  check $? "batches doubled from 64"
fi
grep -A4 'PEAK_GPU_STREAMS' "$package/reports/benchmark_report.md" | head -8
echo "$failed failed"
exit $((failed > 0))
