-- How far each chosen series moved with each reading. Goes on with the WITH of `plain`.
--
-- A cumulative reading that came again in another batch counts once: it ended when the one before
-- it did, and says the same. Others moved by their difference to the one before them in their
-- stream, which is one start of their series: several may take turns.
-- Where the value fell it was reset, and moved by all it says. The first one of a stream moved by
-- all it says if it started in sight, else its past is unknown and it only serves the next as a
-- start. `sign` -1 rows take back the buckets of the reading before. The extremes of a counter are
-- those of its moves; those of `running` distributions are another question: `extremes`.
, counting AS (
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
  SELECT *
  FROM plain
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
