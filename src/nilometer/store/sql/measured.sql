-- Count, sum and extremes of each part of the chosen series in each period.
-- Goes on with the WITH of `moved`.
SELECT
  part,
  ANY_VALUE(kind) AS kind,
  ANY_VALUE(unit) AS unit,
  CASE WHEN $period_ns > 0 THEN ended_ns - ended_ns % $period_ns END AS period_ns,
  SUM(readings) AS readings,
  SUM(sign * samples) AS samples,
  SUM(sign * CAST(value_int AS DECIMAL(38, 0))) AS total_int,
  SUM(sign * value_float) AS total_float,
  MIN(minimum_int) AS minimum_int,
  MIN(minimum_float) AS minimum_float,
  MAX(maximum_int) AS maximum_int,
  MAX(maximum_float) AS maximum_float,
  SUM(without_minimum) AS without_minimum,
  SUM(without_maximum) AS without_maximum,
  COUNT(*) FILTER (WHERE kind = 'distribution' AND running) AS running,
  ARG_MAX(last_int, last_int_ns) AS last_int,
  MAX(last_int_ns) AS last_int_ns,
  ARG_MAX(last_float, last_float_ns) AS last_float,
  MAX(last_float_ns) AS last_float_ns,
  COUNT(*) FILTER (WHERE LEN(bounds) > 0) AS bounded,
  COUNT(*) FILTER (WHERE LEN(negative_indexes) > 0) AS negative,
  SUM(sign * zeros) FILTER (WHERE COALESCE(LEN(bounds), 0) = 0) AS zeros,
  MIN(started_ns) AS started_ns,
  MAX(ended_ns) AS ended_ns
FROM moved
GROUP BY part, period_ns
ORDER BY period_ns, part
LIMIT $rows_max
