-- Summaries of these traces, each of all its spans, the latest first.
-- Materialized, or the window would read the files once more for the rows that it keeps.
WITH found AS MATERIALIZED (
  SELECT trace_id, span_id, parent_id, name, service, started_ns, ended_ns, status, append
  FROM spans
  WHERE trace_id IN (SELECT UNNEST($ids))
),
once AS (
  SELECT *
  FROM found
  QUALIFY ROW_NUMBER() OVER (PARTITION BY trace_id, span_id ORDER BY append) = 1
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
  GREATEST(MAX(ended_ns)::HUGEINT - MIN(started_ns), 0) AS duration_ns,
  COUNT(*) AS spans,
  COUNT(*) FILTER (WHERE status = 'error') AS errors
FROM once
GROUP BY trace_id
ORDER BY started_ns DESC, id
