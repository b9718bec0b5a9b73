-- Events, the latest first; a batch that was delivered twice counts once.
WITH found AS (
  SELECT *
  FROM events
  WHERE at_ns >= $since_ns AND at_ns <= $last_ns
    AND ($name IS NULL OR name = $name)
    AND ($service IS NULL OR service = $service)
    AND ($trace_id IS NULL OR trace_id = $trace_id)
),
kept AS (
  SELECT delivery, MIN(append) AS append
  FROM found
  GROUP BY delivery
)
SELECT found.*
FROM found
SEMI JOIN kept ON found.delivery = kept.delivery AND found.append = kept.append
ORDER BY at_ns DESC
LIMIT $rows_max
