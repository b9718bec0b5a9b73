-- The five minutes for which the chosen series have to be asked from their readings, as those
-- of two files may be the same, delivered twice: they ended in times that touch. And whether
-- some of the readings can only be asked so, whenever in the time asked for they ended.
-- `rolled` are the roll-ups of some files, `readings` the readings of all others.
WITH chosen AS (
  SELECT DISTINCT UNNEST($series) AS series
),
pieces AS (
  SELECT rolled.series, grid_ns, first_ns, ended_ns, is_raw
  FROM rolled
  JOIN chosen ON rolled.series = chosen.series
  WHERE name = $name AND grid_ns + 300000000000 > $since_ns AND grid_ns <= $last_ns
  UNION ALL
  SELECT
    readings.series,
    ended_ns - ended_ns % 300000000000 AS grid_ns,
    MIN(ended_ns) AS first_ns,
    MAX(ended_ns) AS ended_ns,
    BOOL_OR(cumulative AND kind <> 'gauge' OR COALESCE(LEN(bounds), 0) > 0) AS is_raw
  FROM readings
  JOIN chosen ON readings.series = chosen.series
  WHERE name = $name AND ended_ns >= $since_ns AND ended_ns <= $last_ns
  GROUP BY readings.series, grid_ns
),
several AS (
  SELECT series, grid_ns
  FROM pieces
  WHERE grid_ns >= $grid_ns AND grid_ns < $grid_end_ns
  GROUP BY series, grid_ns
  HAVING COUNT(*) > 1
),
ordered AS (
  SELECT
    pieces.grid_ns,
    first_ns,
    LAG(pieces.ended_ns) OVER (
      PARTITION BY pieces.series, pieces.grid_ns ORDER BY first_ns, pieces.ended_ns
    ) AS before_ns
  FROM pieces
  JOIN several ON pieces.series = several.series AND pieces.grid_ns = several.grid_ns
)
SELECT DISTINCT grid_ns, FALSE AS is_raw
FROM ordered
WHERE first_ns <= before_ns
UNION ALL
SELECT NULL, TRUE
FROM pieces
HAVING BOOL_OR(is_raw)
