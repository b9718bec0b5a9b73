-- The same of those that are, with all their spans, as asked for. So many are looked through,
-- first of all those where a span of that time is as asked for already.
WITH met AS (
  SELECT
    trace_id,
    MAX(started_ns) AS latest_ns,
    BOOL_OR(
      ($service IS NULL OR service = $service)
      AND ($name IS NULL OR name = $name)
      AND ($request_id IS NULL OR request_id = $request_id)
    ) AS is_as_asked
  FROM spans
  WHERE started_ns >= $since_ns AND started_ns <= $last_ns
  GROUP BY trace_id
  ORDER BY COALESCE(is_as_asked, false) DESC, latest_ns DESC, trace_id
  LIMIT $looked_max
)
SELECT trace_id
FROM spans JOIN met USING (trace_id)
GROUP BY trace_id
HAVING BOOL_OR(
    ($service IS NULL OR service = $service)
    AND ($name IS NULL OR name = $name)
    AND ($request_id IS NULL OR request_id = $request_id)
  )
  AND GREATEST(MAX(ended_ns)::HUGEINT - MIN(started_ns), 0) >= $min_duration_ns
  AND ($error IS NULL OR BOOL_OR(status = 'error') = $error)
ORDER BY ANY_VALUE(latest_ns) DESC, trace_id
LIMIT $rows_max
