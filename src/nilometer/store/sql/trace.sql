-- All spans of one trace as they came; one that was delivered twice is there twice, the first
-- arrival first.
SELECT *
FROM spans
WHERE trace_id = $trace_id
ORDER BY started_ns, span_id, append
LIMIT $rows_max
