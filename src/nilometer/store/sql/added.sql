-- The head of `measured` and `buckets` where nothing counts from its start and no buckets have bounds
-- of their sender's: what `moved` gives then, which takes four times as long to plan.
--
-- `repeated` and `rolled` are as in `moved`.
WITH chosen AS (
  SELECT UNNEST($series) AS series, UNNEST($parts) AS part
),
again AS (
  SELECT delivery, append
  FROM repeated
  WHERE name = $name AND ended_ns >= $sight_ns AND ended_ns <= $last_ns
  GROUP BY delivery, append
  QUALIFY append > MIN(append) OVER (PARTITION BY delivery)
),
moved AS NOT MATERIALIZED (
  SELECT
    part, kind, unit, started_ns, ended_ns, FALSE AS running, 1 AS sign,
    1 AS readings, value_int, value_float, samples,
    value_int AS last_int,
    CASE WHEN value_int IS NOT NULL THEN ended_ns END AS last_int_ns,
    value_float AS last_float,
    CASE WHEN value_float IS NOT NULL THEN ended_ns END AS last_float_ns,
    CASE WHEN kind = 'distribution' THEN minimum_int ELSE value_int END AS minimum_int,
    CASE WHEN kind = 'distribution' THEN minimum_float ELSE value_float END AS minimum_float,
    CASE WHEN kind = 'distribution' THEN maximum_int ELSE value_int END AS maximum_int,
    CASE WHEN kind = 'distribution' THEN maximum_float ELSE value_float END AS maximum_float,
    CAST(
      kind = 'distribution' AND samples > 0 AND COALESCE(minimum_float, minimum_int) IS NULL
      AS BIGINT
    ) AS without_minimum,
    CAST(
      kind = 'distribution' AND samples > 0 AND COALESCE(maximum_float, maximum_int) IS NULL
      AS BIGINT
    ) AS without_maximum,
    zeros, scale, bounds, bucket_indexes, bucket_counts, negative_indexes, negative_counts
  FROM readings
  JOIN chosen ON readings.series = chosen.series
  WHERE (delivery, append) NOT IN (SELECT delivery, append FROM again)
    AND name = $name AND ended_ns >= $since_ns AND ended_ns <= $last_ns
    AND (kind = 'distribution' OR NOT COALESCE(ISNAN(value_float), FALSE))
  UNION ALL
  SELECT
    part, kind, unit, started_ns, ended_ns, FALSE, 1,
    readings, value_int, value_float, samples,
    last_int, last_int_ns, last_float, last_float_ns,
    minimum_int, minimum_float, maximum_int, maximum_float, without_minimum, without_maximum,
    zeros, scale, NULL, bucket_indexes, bucket_counts, negative_indexes, negative_counts
  FROM rolled
  JOIN chosen ON rolled.series = chosen.series
  WHERE name = $name
)
