-- All spans of these traces as they came, as those of one are; of so many rows as one may have
-- traces with the fewest spans are first, and those that would not be whole are left out.
WITH counted AS (
  SELECT trace_id, COUNT(*) AS spans
  FROM spans
  WHERE trace_id IN (SELECT UNNEST($ids))
  GROUP BY trace_id
),
taken AS (
  SELECT trace_id
  FROM counted
  QUALIFY SUM(spans) OVER (ORDER BY spans, trace_id) <= $rows_max
)
SELECT spans.*
FROM spans SEMI JOIN taken ON spans.trace_id = taken.trace_id
ORDER BY trace_id, started_ns, span_id, append
