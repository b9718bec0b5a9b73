-- Whether operations take another time than before: their durations before and after, each
-- duration ranked among those of the other side.
--
-- The sides are two versions, or all other versions where one is given; else what started
-- before and from a moment on, which is the middle of what there is if none is given. What is
-- counted twice (`..._twice`) is how many durations of the other side are less, and half of
-- those that are equal.
, middle AS (
  SELECT MIN(started_ns) + (MAX(started_ns) - MIN(started_ns)) // 2 + 1 AS split_ns
  FROM once
  WHERE service LIKE $service ESCAPE '!'
),
sided AS (
  SELECT
    service, name, kind, status, duration_ns,
    CASE
      WHEN CAST($before AS VARCHAR) IS NULL AND CAST($after AS VARCHAR) IS NULL THEN
        CASE WHEN started_ns < COALESCE(CAST($split_ns AS BIGINT), middle.split_ns)
          THEN 'before' ELSE 'after' END
      WHEN version = CAST($after AS VARCHAR) THEN 'after'
      WHEN version = CAST($before AS VARCHAR) THEN 'before'
      WHEN CAST($before AS VARCHAR) IS NULL THEN 'before'
      WHEN CAST($after AS VARCHAR) IS NULL THEN 'after'
    END AS side
  FROM once
  CROSS JOIN middle
  WHERE service LIKE $service ESCAPE '!'
),
alike AS (
  SELECT
    service, name, kind, duration_ns,
    COUNT(CASE WHEN side = 'before' THEN 1 END) AS old,
    COUNT(CASE WHEN side = 'after' THEN 1 END) AS new,
    COUNT(CASE WHEN side = 'before' AND status = 'error' THEN 1 END) AS old_errors,
    COUNT(CASE WHEN side = 'after' AND status = 'error' THEN 1 END) AS new_errors
  FROM sided
  WHERE side IS NOT NULL
  GROUP BY service, name, kind, duration_ns
),
ranked AS (
  SELECT
    *,
    CAST(SUM(old) OVER upwards AS BIGINT) AS old_until,
    CAST(SUM(new) OVER upwards AS BIGINT) AS new_until,
    CAST(SUM(old) OVER (PARTITION BY service, name, kind) AS BIGINT) AS old_all,
    CAST(SUM(new) OVER (PARTITION BY service, name, kind) AS BIGINT) AS new_all
  FROM alike
  WINDOW upwards AS (
    PARTITION BY service, name, kind ORDER BY duration_ns
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
  )
),
-- The places from the least and from the greatest on between which a median lies.
placed AS (
  SELECT
    *,
    2 * new_until - new AS new_below_twice,
    2 * old_until - old AS old_below_twice,
    GREATEST(CAST(FLOOR((old_all + 1) * 0.5e0 - SQRT(old_all)) AS BIGINT), 1) AS old_place,
    GREATEST(CAST(FLOOR((new_all + 1) * 0.5e0 - SQRT(new_all)) AS BIGINT), 1) AS new_place
  FROM ranked
)
SELECT
  service, name AS operation, kind,
  MAX(old_all) AS spans_before,
  MAX(new_all) AS spans_after,
  SUM(old_errors) AS errors_before,
  SUM(new_errors) AS errors_after,
  SUM(CAST(duration_ns AS DECIMAL(38, 0)) * old) AS total_before_ns,
  SUM(CAST(duration_ns AS DECIMAL(38, 0)) * new) AS total_after_ns,
  MIN(CASE WHEN old > 0 AND 2 * old_until >= old_all THEN duration_ns END) AS p50_before_ns,
  MIN(CASE WHEN new > 0 AND 2 * new_until >= new_all THEN duration_ns END) AS p50_after_ns,
  MAX(old_place) AS place_before,
  MAX(new_place) AS place_after,
  MIN(CASE WHEN old > 0 AND old_until >= old_place THEN duration_ns END) AS low_before_ns,
  MIN(CASE WHEN new > 0 AND new_until >= new_place THEN duration_ns END) AS low_after_ns,
  MIN(CASE WHEN old > 0 AND old_until > old_all - old_place THEN duration_ns END)
    AS high_before_ns,
  MIN(CASE WHEN new > 0 AND new_until > new_all - new_place THEN duration_ns END)
    AS high_after_ns,
  SUM(CAST(old * new_below_twice AS DECIMAL(38, 0))) AS below_before_twice,
  SUM(CAST(new * old_below_twice AS DECIMAL(38, 0))) AS below_after_twice,
  SUM(CAST(old * new_below_twice AS DECIMAL(38, 0)) * new_below_twice) AS squares_before,
  SUM(CAST(new * old_below_twice AS DECIMAL(38, 0)) * old_below_twice) AS squares_after
FROM placed
GROUP BY service, name, kind
ORDER BY service, name, kind
