-- What was rejected, the latest first; what came twice counts once.
WITH found AS (
  SELECT *
  FROM rejected
  WHERE at_ns >= $since_ns AND at_ns <= $last_ns
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
