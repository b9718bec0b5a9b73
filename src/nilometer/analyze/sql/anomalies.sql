-- Which buckets of time are unlike the others of the same hour of the week, or of the day: by how
-- many spans of an operation started in them, by how many ended in an error, by their median time.
--
-- Whole numbers all the way: `residual` and `scale` are in millionths. Counts are compared by the
-- doubled root of count + 3/8 (Anscombe), where chance is 1 whatever the count is; times by how
-- many parts of the usual time they are off. Buckets in which an operation had no span count
-- as 0 from its first span on. The first and the last bucket of all are cut off, and left out.
, bucketed AS (
  SELECT
    service, name, kind, status, duration_ns, started_ns - started_ns % $bucket_ns AS at_ns
  FROM once
  WHERE service LIKE $service ESCAPE '!' AND started_ns >= 0
),
placed AS (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY service, name, kind, at_ns ORDER BY duration_ns) AS place,
    COUNT(*) OVER (PARTITION BY service, name, kind, at_ns) AS places
  FROM bucketed
),
counted AS (
  SELECT
    service, name, kind, at_ns,
    COUNT(*) AS spans,
    COUNT(CASE WHEN status = 'error' THEN 1 END) AS errors,
    MIN(CASE WHEN place * 2 >= places THEN duration_ns END) AS p50_ns
  FROM placed
  GROUP BY service, name, kind, at_ns
),
ends AS (
  SELECT
    MIN(at_ns) AS first_ns, MAX(at_ns) AS last_ns,
    CASE
      WHEN $season <> 'auto' THEN $season
      WHEN MAX(at_ns) - MIN(at_ns) >= 28 * 86400000000000 THEN 'week'
      WHEN MAX(at_ns) - MIN(at_ns) >= 4 * 86400000000000 THEN 'day'
      ELSE 'none'
    END AS season
  FROM counted
),
-- Those without any span, too: that nothing at all happened is unusual. Not so where a clock was
-- years off, and they would be 100,000 or more.
times AS (
  SELECT
    UNNEST(GENERATE_SERIES(
      first_ns,
      CASE WHEN (last_ns - first_ns) // $bucket_ns < 100000 THEN last_ns ELSE first_ns END,
      $bucket_ns
    )) AS at_ns
  FROM ends
  WHERE first_ns IS NOT NULL
  UNION
  SELECT at_ns
  FROM counted
),
buckets AS (
  SELECT
    times.at_ns, ends.season,
    CASE ends.season
      WHEN 'week' THEN times.at_ns // 3600000000000 % 168
      WHEN 'day' THEN times.at_ns // 3600000000000 % 24
      ELSE 0
    END AS slot
  FROM times
  CROSS JOIN ends
  WHERE times.at_ns > ends.first_ns AND times.at_ns < ends.last_ns
),
operations AS (
  SELECT service, name, kind, MIN(at_ns) AS first_ns
  FROM counted
  GROUP BY service, name, kind
),
whole AS (
  SELECT
    operations.service, operations.name, operations.kind,
    buckets.at_ns, buckets.season, buckets.slot,
    COALESCE(counted.spans, 0) AS spans, COALESCE(counted.errors, 0) AS errors, counted.p50_ns
  FROM operations
  JOIN buckets ON buckets.at_ns >= operations.first_ns
  LEFT JOIN counted
    ON counted.service = operations.service AND counted.name = operations.name
    AND counted.kind = operations.kind AND counted.at_ns = buckets.at_ns
),
measures AS (
  SELECT service, name, kind, at_ns, season, slot, 'spans' AS measure, spans AS measured
  FROM whole
  UNION ALL
  SELECT service, name, kind, at_ns, season, slot, 'errors', errors
  FROM whole
  UNION ALL
  SELECT service, name, kind, at_ns, season, slot, 'p50_ns', p50_ns
  FROM whole
  WHERE p50_ns IS NOT NULL
),
turns AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY service, name, kind, measure, slot ORDER BY measured
    ) AS place,
    COUNT(*) OVER (PARTITION BY service, name, kind, measure, slot) AS alike
  FROM measures
),
medians AS (
  SELECT
    *,
    MIN(CASE WHEN place * 2 >= alike THEN measured END) OVER (
      PARTITION BY service, name, kind, measure, slot
    ) AS usual
  FROM turns
),
residuals AS (
  SELECT
    service, name, kind, at_ns, season, measure, measured, usual, alike,
    CASE
      WHEN measure = 'p50_ns' THEN CAST(
        FLOOR(CAST(measured - usual AS DOUBLE) * 1e6 / CAST(GREATEST(usual, 1) AS DOUBLE))
        AS BIGINT
      )
      ELSE CAST(FLOOR((SQRT(measured + 0.375e0) - SQRT(usual + 0.375e0)) * 2e6) AS BIGINT)
    END AS residual
  FROM medians
  WHERE alike >= 4
),
spread AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY service, name, kind, measure ORDER BY ABS(residual)
    ) AS place,
    COUNT(*) OVER (PARTITION BY service, name, kind, measure) AS places
  FROM residuals
),
scaled AS (
  SELECT
    *,
    GREATEST(
      MIN(CASE WHEN place * 2 >= places THEN ABS(residual) END) OVER (
        PARTITION BY service, name, kind, measure
      ) * 14826 // 10000,
      CASE WHEN measure = 'p50_ns' THEN 50000 ELSE 1000000 END
    ) AS scale
  FROM spread
)
SELECT
  service, name AS operation, kind, measure, at_ns, measured, usual, season, alike,
  residual, scale
FROM scaled
WHERE CAST(ABS(residual) AS DOUBLE) >= CAST($score AS DOUBLE) * CAST(scale AS DOUBLE)
ORDER BY service, name, kind, measure, at_ns
