-- The head of `measured` and `buckets`: how far each chosen series moved with each reading.
--
-- A batch that was delivered twice counts once, and so does a cumulative reading that came again
-- in another batch: it ended when the one before it did, and says the same. A cumulative reading moved by its difference to
-- the one before it in its stream, which is one start of its series: several may take turns.
-- Where the value fell it was reset, and moved by all it says. The first one of a stream moved by
-- all it says if it started in sight, else its past is unknown and it only serves the next as a
-- start. `sign` -1 rows take back the buckets of the reading before. The extremes of a counter are
-- those of its moves; those of `running` distributions are another question: `extremes`.
--
-- `repeated` are those of `readings` whose batch may be there twice, in files that tell of the same
-- time. `rolled` are roll-ups that stand for readings which are not among `readings`, merged; there are
-- none where all readings are.
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
counting AS (
  SELECT
    *,
    COALESCE(samples, value_float, value_int) AS height,
    LAG(COALESCE(samples, value_float, value_int)) OVER before AS height_before,
    LAG(ended_ns) OVER before AS ended_before_ns,
    LAG(value_int) OVER before AS int_before,
    LAG(value_float) OVER before AS float_before,
    LAG(samples) OVER before AS samples_before,
    LAG(COALESCE(minimum_float, minimum_int)) OVER before AS minimum_before,
    LAG(COALESCE(maximum_float, maximum_int)) OVER before AS maximum_before,
    LAG(zeros) OVER before AS zeros_before,
    LAG(scale) OVER before AS scale_before,
    LAG(bounds) OVER before AS bounds_before,
    LAG(bucket_indexes) OVER before AS bucket_indexes_before,
    LAG(bucket_counts) OVER before AS bucket_counts_before,
    LAG(negative_indexes) OVER before AS negative_indexes_before,
    LAG(negative_counts) OVER before AS negative_counts_before
  FROM once
  WHERE cumulative AND kind <> 'gauge'
  WINDOW before AS (PARTITION BY series, part, started_ns ORDER BY ended_ns, height)
),
judged AS (
  SELECT
    *,
    height_before IS NULL AS is_first,
    height_before IS NULL OR height < height_before AS is_afresh
  FROM counting
  WHERE ended_ns >= $since_ns
),
seen AS (
  SELECT
    *,
    CASE WHEN kind = 'counter' THEN TRY_CAST(
      CAST(value_int AS DECIMAL(38, 0))
      - CASE WHEN is_afresh THEN 0 ELSE CAST(int_before AS DECIMAL(38, 0)) END
      AS BIGINT
    ) END AS move_int,
    CASE WHEN kind = 'counter' THEN
      height - CASE WHEN is_afresh THEN 0 ELSE height_before END
    END AS move_float
  FROM judged
  WHERE (NOT is_first OR started_ns >= $sight_ns) AND NOT (
    COALESCE(ended_ns = ended_before_ns, FALSE)
    AND samples IS NOT DISTINCT FROM samples_before
    AND value_int IS NOT DISTINCT FROM int_before
    AND value_float IS NOT DISTINCT FROM float_before
  )
),
moved AS NOT MATERIALIZED (
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
  UNION ALL
  SELECT
    part, kind, unit, started_ns, ended_ns, TRUE, 1, description,
    1, value_int, value_float, samples,
    NULL, NULL, NULL, NULL,
    move_int, CASE WHEN move_int IS NULL THEN move_float END,
    move_int, CASE WHEN move_int IS NULL THEN move_float END,
    0, 0,
    zeros, scale, bounds, bucket_indexes, bucket_counts, negative_indexes, negative_counts
  FROM seen
  UNION ALL
  SELECT
    part, kind, unit, started_ns, ended_ns, TRUE, -1, description,
    0, int_before, float_before, samples_before,
    NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, NULL,
    0, 0,
    zeros_before, scale_before, bounds_before, bucket_indexes_before, bucket_counts_before,
    negative_indexes_before, negative_counts_before
  FROM seen
  WHERE NOT is_afresh
)
