-- Count, sum and extremes of each part of the chosen series in each period.
-- Goes on with the WITH of `moved`.
SELECT
  part,
  ANY_VALUE(kind) AS kind,
  ANY_VALUE(unit) AS unit,
  CASE WHEN $period_ns > 0 THEN ended_ns - ended_ns % $period_ns END AS period_ns,
  COUNT(*) FILTER (WHERE sign > 0) AS readings,
  SUM(sign * samples) AS samples,
  SUM(sign * CAST(value_int AS DECIMAL(38, 0))) AS total_int,
  SUM(sign * value_float) AS total_float,
  MIN(CASE WHEN kind = 'gauge' THEN value_int ELSE minimum_int END) AS minimum_int,
  MIN(CASE WHEN kind = 'gauge' THEN value_float ELSE minimum_float END) AS minimum_float,
  MAX(CASE WHEN kind = 'gauge' THEN value_int ELSE maximum_int END) AS maximum_int,
  MAX(CASE WHEN kind = 'gauge' THEN value_float ELSE maximum_float END) AS maximum_float,
  COUNT(*) FILTER (
    WHERE kind = 'distribution' AND NOT running AND samples > 0
      AND COALESCE(minimum_float, minimum_int) IS NULL
  ) AS without_minimum,
  COUNT(*) FILTER (
    WHERE kind = 'distribution' AND NOT running AND samples > 0
      AND COALESCE(maximum_float, maximum_int) IS NULL
  ) AS without_maximum,
  COUNT(*) FILTER (WHERE kind = 'distribution' AND running) AS running,
  ARG_MAX(value_int, ended_ns) FILTER (WHERE value_int IS NOT NULL) AS last_int,
  MAX(ended_ns) FILTER (WHERE value_int IS NOT NULL) AS last_int_ns,
  ARG_MAX(value_float, ended_ns) FILTER (WHERE value_float IS NOT NULL) AS last_float,
  MAX(ended_ns) FILTER (WHERE value_float IS NOT NULL) AS last_float_ns,
  COUNT(*) FILTER (WHERE LEN(bounds) > 0) AS bounded,
  COUNT(*) FILTER (WHERE LEN(negative_indexes) > 0) AS negative,
  SUM(sign * zeros) FILTER (WHERE LEN(bounds) = 0) AS zeros,
  MIN(started_ns) AS started_ns,
  MAX(ended_ns) AS ended_ns
FROM moved
GROUP BY part, period_ns
ORDER BY period_ns, part
LIMIT $rows_max
