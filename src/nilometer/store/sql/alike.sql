-- Other traces with such a span in that time, those nearest to a moment first; before all, those
-- where it begins the trace.
SELECT trace_id
FROM spans
WHERE name = $name AND service = $service
  AND started_ns >= $since_ns AND started_ns <= $last_ns AND trace_id <> $trace_id
GROUP BY trace_id
ORDER BY
  BOOL_OR(parent_id = '') DESC,
  MIN(ABS(started_ns::HUGEINT - $at_ns)),
  trace_id
LIMIT $rows_max
