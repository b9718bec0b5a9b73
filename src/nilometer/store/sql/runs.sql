-- The rows of the latest runs, oldest run first; a run that was delivered twice counts once.
-- A run during which the clock went back takes its place by when it was appended.
WITH found AS (
  SELECT
    *,
    CASE WHEN ended_ns < started_ns THEN append ELSE started_ns END AS moment_ns
  FROM runs
  WHERE ended_ns >= $since_ns
    AND ($suite IS NULL OR suite = $suite)
    AND ($parts OR what <> 'count' OR dimensions = '{}')
),
kept AS (
  SELECT delivery, MIN(append) AS append
  FROM found
  GROUP BY delivery
),
latest AS (
  SELECT found.delivery, MIN(found.moment_ns) AS first_ns
  FROM found
  SEMI JOIN kept ON found.delivery = kept.delivery AND found.append = kept.append
  GROUP BY found.delivery
  ORDER BY first_ns DESC
  LIMIT $runs_max
)
SELECT found.*
FROM found
SEMI JOIN kept ON found.delivery = kept.delivery AND found.append = kept.append
JOIN latest ON found.delivery = latest.delivery
ORDER BY latest.first_ns, found.delivery, found.position
