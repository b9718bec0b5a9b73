-- Spans whose attribute `request_id` is this, the latest first; each once.
SELECT *
FROM spans
WHERE request_id = $request_id AND started_ns >= $since_ns AND started_ns <= $last_ns
QUALIFY ROW_NUMBER() OVER (PARTITION BY trace_id, span_id ORDER BY append) = 1
ORDER BY started_ns DESC
LIMIT $rows_max
