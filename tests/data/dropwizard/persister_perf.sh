#!/usr/bin/env bash
# Made from a description of the performance test that came with Monasca's persister in Java: its flags, its
# requests, the meters it adds up, and when it ends. Nothing of it is copied. `jmeter` is whatever is called so.
#   persister_perf.sh -t PLAN -n METRICS -s HOST,HOST -p ADMIN_PORT -w SECONDS
set -u
while getopts t:n:s:p:w: flag; do
    case $flag in
        t) plan=$OPTARG ;; n) total=$OPTARG ;; s) servers=${OPTARG//,/ } ;;
        p) port=$OPTARG ;; w) wait_s=$OPTARG ;; *) exit 2 ;;
    esac
done
folder=persister_perf_$(date +%s)
mkdir "$folder"
output=$folder/persister_perf_output.txt
handler='monasca.persister.pipeline.event.MetricHandler\\[metric-[0-9]*\\]'

count() {  # of a meter, over all threads of all servers
    local sum=0 server n
    for server in $servers; do
        n=$(curl -m 60 -s "http://$server:$port/metrics?pretty=true" |
            jq "[.meters | to_entries[] | select(.key | test(\"$handler.$1\")) | .value.count] | add")
        sum=$((sum + n))
    done
    echo $sum
}

received_start=$(count events-processed-meter)
flushed_start=$(count flush-meter)
started=$(date +%s)
{ echo "received at start: $received_start"; echo "flushed at start: $flushed_start"; } >"$output"
jmeter -n -t "$plan" >"$folder/jmeter.out" 2>&1 &
while :; do
    sleep "$wait_s"
    received=$(count events-processed-meter)
    flushed=$(count flush-meter)
    echo "$(date +%s) $received $flushed" >>"$folder/persister_perf.log"
    [ "$received" -ge $((received_start + total)) ] && [ "$flushed" -ge $((flushed_start + total)) ] && break
done
elapsed=$(($(date +%s) - started))
[ $elapsed -gt 0 ] || elapsed=1
{
    echo "received at end: $received"
    echo "flushed at end: $flushed"
    echo "elapsed: $elapsed"
    echo "average received metrics/s: $(((received - received_start) / elapsed))"
    echo "average persisted metrics/s: $(((flushed - flushed_start) / elapsed))"
} >>"$output"
cat "$output"
