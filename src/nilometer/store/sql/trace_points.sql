-- The points of OSProfiler's in one trace that did not come together, each once.
SELECT *
FROM events
WHERE name IN ('osprofiler.start', 'osprofiler.stop') AND trace_id = $trace_id
QUALIFY ROW_NUMBER() OVER (PARTITION BY span_id, name ORDER BY append) = 1
ORDER BY at_ns
LIMIT $rows_max
