-- So many spans of one trace, of each the row that is first in `trace.sql`. What tells spans apart
-- is looked through alone at first: whole rows would take much of the memory.
WITH first AS (
  SELECT
    span_id,
    MIN(started_ns) AS started_ns,
    ARG_MIN(append, ROW(started_ns, append)) AS append
  FROM spans
  WHERE trace_id = $trace_id
  GROUP BY span_id
  ORDER BY started_ns, span_id
  LIMIT $rows_max
)
SELECT spans.*
FROM spans SEMI JOIN first USING (span_id, started_ns, append)
WHERE trace_id = $trace_id
ORDER BY started_ns, span_id, append
