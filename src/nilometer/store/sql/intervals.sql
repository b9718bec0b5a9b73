-- The longest time of which one reading of the chosen series tells, of the latest of each.
--
-- One that counts from its start tells of what came since the one before it in its stream; so does
-- one that does not say when its interval began. Of a stream's only one all is told since its start.
WITH chosen AS (
  SELECT UNNEST($series) AS series, UNNEST($first) AS first_ns
),
told AS (
  SELECT series, started_ns, ended_ns, cumulative OR started_ns <= 0 AS is_running
  FROM readings
  JOIN chosen USING (series)
  WHERE name = $name AND ended_ns >= first_ns AND ended_ns <= $last_ns
),
running AS (
  SELECT
    series,
    ended_ns - LAG(ended_ns) OVER (PARTITION BY series, started_ns ORDER BY ended_ns) AS apart_ns,
    CASE WHEN started_ns > 0 THEN ended_ns - started_ns END AS lasted_ns
  FROM told
  WHERE is_running
),
each_series AS (
  SELECT COALESCE(MAX(apart_ns), MAX(lasted_ns)) AS interval_ns
  FROM running
  GROUP BY series
  UNION ALL
  SELECT MAX(ended_ns - started_ns)
  FROM told
  WHERE NOT is_running
)
SELECT MAX(interval_ns) AS interval_ns
FROM each_series
