-- How often each operation of a service is called, how often it fails, and how long it takes:
-- in each hour of the week, each hour of the day, each day of the week, or all together. UTC.
-- A quantile is the least duration that so large a share of all are not above.
, slotted AS (
  SELECT
    service, name, kind, status, started_ns, ended_ns, duration_ns,
    CASE
      WHEN $by IN ('week', 'weekday')
      THEN (started_ns // 86400000000000 % 7 + 10) % 7 + 1  -- 1970 began on a Thursday
    END AS weekday,
    CASE
      WHEN $by IN ('week', 'hour')
      THEN (started_ns // 3600000000000 % 24 + 24) % 24
    END AS hour
  FROM once
  WHERE service LIKE $service ESCAPE '!'
),
placed AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY service, name, kind, weekday, hour
      ORDER BY duration_ns
    ) AS place,
    COUNT(*) OVER (PARTITION BY service, name, kind, weekday, hour) AS calls
  FROM slotted
)
SELECT
  service,
  name,
  kind,
  weekday,
  hour,
  COUNT(*) AS calls,
  COUNT(*) FILTER (WHERE status = 'error') AS errors,
  SUM(CAST(duration_ns AS DECIMAL(38, 0))) AS total_ns,
  MIN(CASE WHEN place * 100 >= calls * 50 THEN duration_ns END) AS p50_ns,
  MIN(CASE WHEN place * 100 >= calls * 90 THEN duration_ns END) AS p90_ns,
  MIN(CASE WHEN place * 100 >= calls * 99 THEN duration_ns END) AS p99_ns,
  MAX(duration_ns) AS max_ns,
  MIN(started_ns) AS first_ns,
  MAX(ended_ns) AS end_ns
FROM placed
GROUP BY service, name, kind, weekday, hour
