-- The readings of one file, each series' merged over five minutes.
-- What cannot be merged so (counts since a start, buckets of any bounds, NaN) is only named.
WITH told AS (
  SELECT
    *,
    ended_ns - ended_ns % 300000000000 AS grid_ns,
    COALESCE(scale, 0) AS sharpness,
    cumulative AND kind <> 'gauge' OR COALESCE(LEN(bounds), 0) > 0
      OR kind <> 'distribution' AND COALESCE(ISNAN(value_float), FALSE) AS is_raw
  FROM readings
),
above AS (
  SELECT
    series, grid_ns, sharpness, bucket, SUM(held) AS held
  FROM (
    SELECT
      series, grid_ns, sharpness,
      UNNEST(bucket_indexes) AS bucket, UNNEST(bucket_counts) AS held
    FROM told
    WHERE NOT is_raw
  )
  GROUP BY series, grid_ns, sharpness, bucket
),
below AS (
  SELECT
    series, grid_ns, sharpness, bucket, SUM(held) AS held
  FROM (
    SELECT
      series, grid_ns, sharpness,
      UNNEST(negative_indexes) AS bucket, UNNEST(negative_counts) AS held
    FROM told
    WHERE NOT is_raw
  )
  GROUP BY series, grid_ns, sharpness, bucket
),
aboves AS (
  SELECT
    series, grid_ns, sharpness,
    LIST(bucket ORDER BY bucket) AS indexes,
    LIST(CAST(held AS BIGINT) ORDER BY bucket) AS counts
  FROM above
  GROUP BY series, grid_ns, sharpness
),
belows AS (
  SELECT
    series, grid_ns, sharpness,
    LIST(bucket ORDER BY bucket) AS indexes,
    LIST(CAST(held AS BIGINT) ORDER BY bucket) AS counts
  FROM below
  GROUP BY series, grid_ns, sharpness
),
merged AS (
  SELECT
    series,
    grid_ns,
    sharpness,
    is_raw,
    ANY_VALUE(service) AS service,
    ANY_VALUE(host) AS host,
    ANY_VALUE(pid) AS pid,
    ANY_VALUE(region) AS region,
    ANY_VALUE(zone) AS zone,
    ANY_VALUE(version) AS version,
    ANY_VALUE(resource) AS resource,
    ANY_VALUE(scope) AS scope,
    ANY_VALUE(name) AS name,
    ANY_VALUE(kind) AS kind,
    ANY_VALUE(unit) AS unit,
    ANY_VALUE(description) AS description,
    ANY_VALUE(dimensions) AS dimensions,
    MIN(started_ns) AS started_ns,
    MIN(ended_ns) AS first_ns,
    MAX(ended_ns) AS ended_ns,
    COUNT(*) AS readings,
    SUM(value_int) FILTER (WHERE NOT is_raw) AS value_int,
    SUM(value_float) FILTER (WHERE NOT is_raw) AS value_float,
    ARG_MAX(value_int, ended_ns) FILTER (WHERE value_int IS NOT NULL) AS last_int,
    MAX(ended_ns) FILTER (WHERE value_int IS NOT NULL) AS last_int_ns,
    ARG_MAX(value_float, ended_ns) FILTER (WHERE value_float IS NOT NULL) AS last_float,
    MAX(ended_ns) FILTER (WHERE value_float IS NOT NULL) AS last_float_ns,
    SUM(samples) FILTER (WHERE NOT is_raw) AS samples,
    MIN(CASE WHEN kind = 'distribution' THEN minimum_int ELSE value_int END) AS minimum_int,
    MIN(CASE WHEN kind = 'distribution' THEN minimum_float ELSE value_float END)
      AS minimum_float,
    MAX(CASE WHEN kind = 'distribution' THEN maximum_int ELSE value_int END) AS maximum_int,
    MAX(CASE WHEN kind = 'distribution' THEN maximum_float ELSE value_float END)
      AS maximum_float,
    COUNT(*) FILTER (
      WHERE kind = 'distribution' AND samples > 0
        AND COALESCE(minimum_float, minimum_int) IS NULL
    ) AS without_minimum,
    COUNT(*) FILTER (
      WHERE kind = 'distribution' AND samples > 0
        AND COALESCE(maximum_float, maximum_int) IS NULL
    ) AS without_maximum,
    SUM(zeros) FILTER (WHERE NOT is_raw) AS zeros,
    ANY_VALUE(scale) AS scale
  FROM told
  GROUP BY series, grid_ns, sharpness, is_raw
)
SELECT
  $file AS file,
  merged.* EXCLUDE (sharpness, value_int, samples, zeros),
  CAST(value_int AS BIGINT) AS value_int,
  CAST(samples AS BIGINT) AS samples,
  CAST(zeros AS BIGINT) AS zeros,
  aboves.indexes AS bucket_indexes,
  aboves.counts AS bucket_counts,
  belows.indexes AS negative_indexes,
  belows.counts AS negative_counts
FROM merged
LEFT JOIN aboves
  ON NOT is_raw AND merged.series = aboves.series AND merged.grid_ns = aboves.grid_ns
    AND merged.sharpness = aboves.sharpness
LEFT JOIN belows
  ON NOT is_raw AND merged.series = belows.series AND merged.grid_ns = belows.grid_ns
    AND merged.sharpness = belows.sharpness
ORDER BY name, merged.grid_ns, merged.series
