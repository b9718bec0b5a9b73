-- Single points of the chosen series, in the order of place, time and part, after the point that
-- the three `after` tell. Goes on with the WITH of `moved`.
-- What several series of a part tell of one moment is one point: added up, but of gauges the
-- greatest.
, put AS (
  SELECT UNNEST($numbers) AS part, UNNEST($places) AS place
),
told AS (
  SELECT
    place,
    ended_ns,
    part,
    ANY_VALUE(kind) AS kind,
    SUM(sign * samples) AS samples,
    SUM(sign * CAST(value_int AS DECIMAL(38, 0))) AS total_int,
    SUM(sign * value_float) AS total_float,
    MAX(value_int) AS greatest_int,
    MAX(value_float) AS greatest_float,
    MIN(minimum_int) AS minimum_int,
    MIN(minimum_float) AS minimum_float,
    MAX(maximum_int) AS maximum_int,
    MAX(maximum_float) AS maximum_float,
    MAX(description) AS description
  FROM moved JOIN put USING (part)
  GROUP BY place, ended_ns, part
)
SELECT *
FROM told
WHERE place > $after_place OR place = $after_place AND (
  ended_ns > $after_ns OR ended_ns = $after_ns AND part > $after_part
)
ORDER BY place, ended_ns, part
LIMIT $rows_max
