-- The rows of the latest runs, in the order in which the runs were recorded, which no clock that
-- was wrong can change; a run that was delivered twice counts once, where it came first.
WITH found AS (
  SELECT *
  FROM runs
  WHERE ended_ns >= $since_ns
    AND ($suite IS NULL OR suite = $suite)
    AND ($parts OR what <> 'count' OR dimensions = '{}')
),
kept AS (
  SELECT delivery, MIN(append) AS append
  FROM found
  GROUP BY delivery
  ORDER BY append DESC, delivery DESC
  LIMIT $runs_max
)
SELECT found.*
FROM found
SEMI JOIN kept ON found.delivery = kept.delivery AND found.append = kept.append
ORDER BY found.append, found.delivery, found.position
