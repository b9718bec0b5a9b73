-- The head of what asks how far each chosen series moved: readings that each tell by themselves.
-- `moved` and `added` go on with its WITH.
--
-- A batch that was delivered twice counts once. `repeated` are those of `readings` whose batch may
-- be there twice, in files that tell of the same time. `rolled` are roll-ups that stand for
-- readings which are not among `readings`, merged; there are none where all readings are.
--
-- A series may belong to several parts: to its process and to its service, for instance.
--
-- `NOT IN` and not an anti join: DuckDB would turn that round and hold all readings in memory.
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
once AS NOT MATERIALIZED (
  SELECT readings.*, chosen.part
  FROM readings
  JOIN chosen ON readings.series = chosen.series
  WHERE (delivery, append) NOT IN (SELECT delivery, append FROM again)
    AND readings.name = $name AND ended_ns >= $sight_ns AND ended_ns <= $last_ns
    AND (kind = 'distribution' OR NOT COALESCE(ISNAN(value_float), FALSE))
),
plain AS NOT MATERIALIZED (
  SELECT
    part, kind, unit, started_ns, ended_ns, FALSE AS running, 1 AS sign, description,
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
  FROM once
  WHERE NOT (cumulative AND kind <> 'gauge') AND ended_ns >= $since_ns
  UNION ALL
  SELECT
    part, kind, unit, started_ns, ended_ns, FALSE, 1, NULL,
    readings, value_int, value_float, samples,
    last_int, last_int_ns, last_float, last_float_ns,
    minimum_int, minimum_float, maximum_int, maximum_float, without_minimum, without_maximum,
    zeros, scale, NULL, bucket_indexes, bucket_counts, negative_indexes, negative_counts
  FROM rolled
  JOIN chosen ON rolled.series = chosen.series
  WHERE name = $name
)
