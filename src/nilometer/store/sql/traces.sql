-- Summaries of the traces that have a span as asked for, the latest first.
WITH chosen AS (
  SELECT trace_id
  FROM spans
  WHERE started_ns >= $since_ns AND started_ns <= $last_ns
    AND ($service IS NULL OR service = $service)
    AND ($name IS NULL OR name = $name)
    AND ($request_id IS NULL OR request_id = $request_id)
  GROUP BY trace_id
  ORDER BY MAX(started_ns) DESC
  LIMIT $chosen_max
),
once AS (
  SELECT spans.trace_id, span_id, parent_id, name, service, started_ns, ended_ns, status
  FROM spans
  SEMI JOIN chosen ON spans.trace_id = chosen.trace_id
  WHERE started_ns >= $from_ns AND started_ns <= $to_ns
  QUALIFY ROW_NUMBER() OVER (PARTITION BY spans.trace_id, span_id ORDER BY append) = 1
)
SELECT
  trace_id AS id,
  COALESCE(
    ARG_MIN(name, ROW(started_ns, span_id)) FILTER (WHERE parent_id = ''),
    ARG_MIN(name, ROW(started_ns, span_id))
  ) AS root,
  COALESCE(
    ARG_MIN(service, ROW(started_ns, span_id)) FILTER (WHERE parent_id = ''),
    ARG_MIN(service, ROW(started_ns, span_id))
  ) AS service,
  MIN(started_ns) AS started_ns,
  GREATEST(MAX(ended_ns) - MIN(started_ns), 0) AS duration_ns,
  COUNT(*) AS spans,
  COUNT(*) FILTER (WHERE status = 'error') AS errors
FROM once
GROUP BY trace_id
HAVING GREATEST(MAX(ended_ns) - MIN(started_ns), 0) >= $min_duration_ns
  AND ($error IS NULL OR (COUNT(*) FILTER (WHERE status = 'error') > 0) = $error)
ORDER BY started_ns DESC, id
LIMIT $rows_max
