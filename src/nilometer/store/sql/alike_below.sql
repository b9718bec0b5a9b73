-- Other traces with such a span in that time, those nearest to a moment first; before all, those
-- that begin with it, whose parent, if they name one, is nowhere.
WITH held AS MATERIALIZED (
  SELECT trace_id, parent_id, started_ns
  FROM spans
  WHERE name = $name AND service = $service
    AND started_ns >= $since_ns AND started_ns <= $last_ns AND trace_id <> $trace_id
),
above AS (
  SELECT trace_id, span_id
  FROM spans
  WHERE trace_id IN (SELECT trace_id FROM held)
)
SELECT held.trace_id AS trace_id
FROM held
LEFT JOIN above ON above.trace_id = held.trace_id AND above.span_id = held.parent_id
GROUP BY held.trace_id
ORDER BY
  BOOL_OR(above.span_id IS NULL) DESC,
  MIN(ABS(held.started_ns::HUGEINT - $at_ns)),
  held.trace_id
LIMIT $rows_max
