-- Those traces, the latest first.
SELECT trace_id
FROM chosen
ORDER BY latest_ns DESC, trace_id
LIMIT $rows_max
