-- The rows of the latest runs, in the order in which the runs were recorded, which no clock that
-- was wrong can change; a run that was delivered twice counts once, where it came first.
-- Positions are numbered from 0 without a gap: `missing` tells how many rows of a run are lost.
-- Dimensions that are no JSON object are read without parts, too: it may have been a total.
WITH whole AS (
  SELECT delivery, append, MAX(position) + 1 - COUNT(*) AS missing
  FROM runs
  WHERE ended_ns >= $since_ns
    AND ($suite IS NULL OR suite = $suite)
  GROUP BY delivery, append
),
kept AS (
  SELECT delivery, MIN(append) AS append, ARG_MIN(missing, append) AS missing
  FROM whole
  GROUP BY delivery
  ORDER BY append DESC, delivery DESC
  LIMIT $runs_max
),
found AS (
  SELECT *
  FROM runs
  WHERE ended_ns >= $since_ns
    AND ($suite IS NULL OR suite = $suite)
    AND ($parts OR what <> 'count' OR dimensions IS NULL OR dimensions = '{}'
      OR NOT (STARTS_WITH(dimensions, '{"') AND ENDS_WITH(dimensions, '}')))
)
SELECT found.*, kept.missing
FROM found
JOIN kept ON found.delivery = kept.delivery AND found.append = kept.append
ORDER BY found.append, found.delivery, found.position
