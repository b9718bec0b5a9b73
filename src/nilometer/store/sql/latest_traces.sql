-- The traces that have a span that started in that time, those with the latest first.
SELECT trace_id
FROM spans
WHERE started_ns >= $since_ns AND started_ns <= $last_ns
GROUP BY trace_id
ORDER BY MAX(started_ns) DESC, trace_id
LIMIT $rows_max
