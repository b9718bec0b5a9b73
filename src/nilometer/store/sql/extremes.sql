-- The extremes of cumulative distributions, of each part of the chosen series in each period.
-- Goes on with the WITH of `moved`.
--
-- What such a reading tells are the extremes since its start. They are the period's own where
-- the start lies in it, or where they moved in it: a new least value can only be a new one.
-- Else nobody knows them, unless nothing was recorded in the period.
, numbered AS (
  SELECT
    *,
    COUNT(*) FILTER (WHERE is_afresh) OVER (
      PARTITION BY series, part, started_ns ORDER BY ended_ns, height
    ) AS run,
    COALESCE(minimum_float, minimum_int) AS minimum,
    COALESCE(maximum_float, maximum_int) AS maximum
  FROM seen
  WHERE kind = 'distribution'
),
runs AS (
  SELECT
    part,
    CASE WHEN $period_ns > 0 THEN ended_ns - ended_ns % $period_ns END AS period_ns,
    BOOL_OR(
      minimum IS NOT NULL
      AND (is_afresh OR samples_before = 0 OR COALESCE(minimum < minimum_before, FALSE))
    ) AS tells_minimum,
    BOOL_OR(
      maximum IS NOT NULL
      AND (is_afresh OR samples_before = 0 OR COALESCE(maximum > maximum_before, FALSE))
    ) AS tells_maximum,
    SUM(CASE WHEN is_afresh THEN samples ELSE samples - samples_before END) AS recorded,
    MIN(minimum_int) AS minimum_int,
    MIN(minimum_float) AS minimum_float,
    MAX(maximum_int) AS maximum_int,
    MAX(maximum_float) AS maximum_float
  FROM numbered
  GROUP BY part, period_ns, series, started_ns, run
)
SELECT
  part,
  period_ns,
  MIN(minimum_int) FILTER (WHERE tells_minimum) AS minimum_int,
  MIN(minimum_float) FILTER (WHERE tells_minimum) AS minimum_float,
  MAX(maximum_int) FILTER (WHERE tells_maximum) AS maximum_int,
  MAX(maximum_float) FILTER (WHERE tells_maximum) AS maximum_float,
  COUNT(*) FILTER (WHERE recorded > 0 AND NOT tells_minimum) AS without_minimum,
  COUNT(*) FILTER (WHERE recorded > 0 AND NOT tells_maximum) AS without_maximum
FROM runs
GROUP BY part, period_ns
LIMIT $rows_max
