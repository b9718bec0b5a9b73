-- Throughput against concurrency, window by window: how many requests ended in it, and how long
-- all that were in flight were so within it.
--
-- A request is a span of a server or a consumer, or one at the top. A request that starts in a
-- window is busy for what is left of it; one that ends takes as much back, and those that run
-- from before are busy for all of it. `quiet` windows without a start or an end follow in which
-- `running_after` requests were in flight. The first and the last window of a service are not
-- whole: the time asked for cuts them off. Of 20,000 windows and more a sample is taken, by a
-- digest of their time.
, requests AS (
  SELECT service, started_ns, ended_ns
  FROM once
  WHERE service LIKE $service ESCAPE '!'
    AND (kind IN ('server', 'consumer') OR parent_id = '')
    AND (CAST($operation AS VARCHAR) IS NULL OR name = CAST($operation AS VARCHAR))
    AND started_ns >= 0
),
moments AS (
  SELECT
    service, started_ns - started_ns % $window_ns AS at_ns,
    $window_ns - started_ns % $window_ns AS left_ns, 1 AS step
  FROM requests
  UNION ALL
  SELECT
    service, ended_ns - ended_ns % $window_ns, ended_ns % $window_ns - $window_ns, -1
  FROM requests
),
sums AS (
  SELECT
    service, at_ns,
    COUNT(CASE WHEN step > 0 THEN 1 END) AS started,
    COUNT(CASE WHEN step < 0 THEN 1 END) AS ended,
    SUM(CAST(left_ns AS DECIMAL(38, 0))) AS inside_ns
  FROM moments
  GROUP BY service, at_ns
),
levels AS (
  SELECT
    service, at_ns, ended, inside_ns,
    CAST(SUM(started - ended) OVER (
      PARTITION BY service ORDER BY at_ns
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS BIGINT) AS running_after,
    CAST(SUM(started - ended) OVER (
      PARTITION BY service ORDER BY at_ns
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS BIGINT) - (started - ended) AS running_before,
    LAG(at_ns) OVER (PARTITION BY service ORDER BY at_ns) AS before_ns,
    LEAD(at_ns) OVER (PARTITION BY service ORDER BY at_ns) AS next_ns
  FROM sums
),
turns AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY service ORDER BY MD5(CAST(at_ns AS VARCHAR)), at_ns
    ) AS turn
  FROM levels
)
SELECT
  service, at_ns, ended, running_after,
  inside_ns + CAST(running_before AS DECIMAL(38, 0)) * $window_ns AS busy_ns,
  COALESCE((next_ns - at_ns) // $window_ns - 1, 0) AS quiet,
  before_ns IS NOT NULL AND next_ns IS NOT NULL AS is_whole
FROM turns
WHERE turn <= 20000
ORDER BY service, at_ns
