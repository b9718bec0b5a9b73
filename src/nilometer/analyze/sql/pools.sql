-- How many of each pool's connections, threads, processes and greenlets are at work, free and
-- waited for; how often somebody waited, how long, and in vain; per process, whose pool it is.
--
-- A batch that was delivered twice counts once. What is told of one moment is put together:
-- `asked` is how many are used or would be if there were more. Cumulative readings moved by their
-- difference to the one before, or by all they say where they started afresh in the time asked
-- for. Whole numbers all the way: times in nanoseconds, `load_millionths` in millionths.
WITH named AS (
  SELECT
    service, host, pid, series, name, unit, dimensions, started_ns, ended_ns, cumulative,
    value_int, value_float, samples, delivery, append
  FROM readings
  WHERE name IN (
    'db.client.connection.count', 'db.client.connection.pending_requests',
    'db.client.connection.wait_time', 'db.client.connection.timeouts',
    'http.client.connection.count', 'http.client.connection.pending_requests',
    'http.client.connection.wait_time', 'http.client.connection.timeouts',
    'messaging.connection.count',
    'thread_pool.used', 'thread_pool.free', 'thread_pool.waiting',
    'thread_pool.wait', 'thread_pool.run',
    'process_pool.used', 'process_pool.free', 'process_pool.waiting',
    'green_pool.used', 'green_pool.free', 'green_pool.waiting', 'pool.timeouts'
  )
    AND ended_ns <= $last_ns
),
firsts AS (
  SELECT delivery, MIN(append) AS append
  FROM named
  GROUP BY delivery
),
told AS (
  SELECT
    named.service, named.host, named.pid, named.series, named.started_ns,
    named.ended_ns, named.cumulative, named.samples,
    CASE
      WHEN name LIKE 'db.client.connection.%' THEN 'database connections'
      WHEN name LIKE 'http.client.connection.%' THEN 'http connections'
      WHEN name LIKE 'messaging.connection.%' THEN 'messaging connections'
      WHEN name LIKE 'thread!_pool.%' ESCAPE '!' THEN 'threads'
      WHEN name LIKE 'process!_pool.%' ESCAPE '!' THEN 'processes'
      ELSE 'greenlets'
    END AS family,
    COALESCE(
      JSON_EXTRACT_STRING(dimensions, '$."pool"'),
      JSON_EXTRACT_STRING(dimensions, '$."db.client.connection.pool.name"'),
      JSON_EXTRACT_STRING(dimensions, '$."http.client.connection.pool.name"'),
      JSON_EXTRACT_STRING(dimensions, '$."messaging.connection.pool.name"'),
      ''
    ) AS pool,
    CASE
      WHEN name LIKE '%.connection.count' THEN CASE COALESCE(
        JSON_EXTRACT_STRING(dimensions, '$."db.client.connection.state"'),
        JSON_EXTRACT_STRING(dimensions, '$."http.client.connection.state"'),
        JSON_EXTRACT_STRING(dimensions, '$."messaging.connection.state"'),
        ''
      ) WHEN 'used' THEN 'used' WHEN 'idle' THEN 'free' END
      WHEN name LIKE '%.used' THEN 'used'
      WHEN name LIKE '%.free' THEN 'free'
      WHEN name LIKE '%.waiting' OR name LIKE '%.pending!_requests' ESCAPE '!' THEN 'waiting'
      WHEN name LIKE '%.wait' OR name LIKE '%.wait!_time' ESCAPE '!' THEN 'wait'
      WHEN name LIKE '%.run' THEN 'run'
      ELSE 'timeout'
    END AS what,
    -- What no pool counts and no wait lasts is cut, so that no sum fails.
    CASE
      WHEN value_int IS NOT NULL THEN CASE unit
        WHEN 's' THEN GREATEST(LEAST(value_int, 9000000000), 0) * 1000000000
        WHEN 'ms' THEN GREATEST(LEAST(value_int, 9000000000000), 0) * 1000000
        ELSE GREATEST(value_int, 0)
      END
      WHEN NOT ISNAN(value_float) THEN CAST(
        FLOOR(GREATEST(LEAST(value_float, 9e9), 0e0) * CASE unit
          WHEN 's' THEN 1e9 WHEN 'ms' THEN 1e6 ELSE 1e0
        END) AS BIGINT
      )
    END AS measured
  FROM named
  JOIN firsts ON named.delivery = firsts.delivery AND named.append = firsts.append
  WHERE named.service LIKE $service ESCAPE '!'
),
moments AS (
  SELECT
    service, host, pid, family, pool, ended_ns,
    SUM(CASE WHEN what = 'used' THEN LEAST(measured, 1000000000) END) AS used,
    SUM(CASE WHEN what = 'free' THEN LEAST(measured, 1000000000) END) AS free,
    SUM(CASE WHEN what = 'waiting' THEN LEAST(measured, 1000000000) END) AS waiting
  FROM told
  WHERE what IN ('used', 'free', 'waiting') AND measured IS NOT NULL
    AND ended_ns >= $since_ns
  GROUP BY service, host, pid, family, pool, ended_ns
),
windows AS (
  SELECT
    service, host, pid, family, pool, ended_ns - ended_ns % $window_ns AS at_ns,
    COUNT(*) AS moments,
    SUM(used) AS used,
    SUM(used + COALESCE(waiting, 0)) AS asked,
    MAX(used) AS used_maximum,
    MAX(used + COALESCE(free, 0)) AS size,
    MAX(waiting) AS waiting_maximum
  FROM moments
  WHERE used IS NOT NULL
  GROUP BY service, host, pid, family, pool, ended_ns - ended_ns % $window_ns
),
gauges AS (
  SELECT
    service, host, pid, family, pool,
    CAST(SUM(moments) AS BIGINT) AS moments,
    CAST(SUM(used) AS BIGINT) AS used,
    CAST(MAX(asked * 1000000 // moments) AS BIGINT) AS load_millionths,
    CAST(MAX(used_maximum) AS BIGINT) AS used_maximum,
    CAST(MAX(size) AS BIGINT) AS size,
    CAST(MAX(waiting_maximum) AS BIGINT) AS waiting_maximum
  FROM windows
  GROUP BY service, host, pid, family, pool
),
streams AS (
  SELECT
    *,
    LAG(measured) OVER (
      PARTITION BY series, started_ns ORDER BY ended_ns, samples, measured
    ) AS measured_before,
    LAG(samples) OVER (
      PARTITION BY series, started_ns ORDER BY ended_ns, samples, measured
    ) AS samples_before
  FROM told
  WHERE what IN ('wait', 'run', 'timeout')
),
moved AS (
  SELECT
    service, host, pid, family, pool, what, started_ns, ended_ns,
    CASE
      WHEN NOT cumulative OR measured < measured_before THEN measured
      WHEN measured_before IS NOT NULL THEN measured - measured_before
      WHEN started_ns >= $since_ns THEN measured
      ELSE 0
    END AS measured,
    CASE
      WHEN NOT cumulative OR samples < samples_before THEN samples
      WHEN samples_before IS NOT NULL THEN samples - samples_before
      WHEN started_ns >= $since_ns THEN samples
      ELSE 0
    END AS samples
  FROM streams
  WHERE ended_ns >= $since_ns
),
sums AS (
  SELECT
    service, host, pid, family, pool,
    SUM(CAST(CASE WHEN what = 'wait' THEN samples END AS DECIMAL(38, 0))) AS waits,
    SUM(CAST(CASE WHEN what = 'wait' THEN measured END AS DECIMAL(38, 0))) AS waits_ns,
    SUM(CAST(CASE WHEN what = 'run' THEN samples END AS DECIMAL(38, 0))) AS runs,
    SUM(CAST(CASE WHEN what = 'run' THEN measured END AS DECIMAL(38, 0))) AS runs_ns,
    SUM(CAST(CASE WHEN what = 'timeout' THEN measured END AS DECIMAL(38, 0))) AS timeouts,
    CAST(MAX(ended_ns) AS DECIMAL(38, 0)) - MIN(started_ns) AS time_ns
  FROM moved
  GROUP BY service, host, pid, family, pool
)
SELECT
  COALESCE(gauges.service, sums.service) AS service,
  COALESCE(gauges.family, sums.family) AS family,
  COALESCE(gauges.pool, sums.pool) AS pool,
  gauges.moments, gauges.used, gauges.load_millionths, gauges.used_maximum, gauges.size,
  gauges.waiting_maximum,
  sums.waits, sums.waits_ns, sums.runs, sums.runs_ns, sums.timeouts, sums.time_ns
FROM gauges
FULL JOIN sums
  ON gauges.service = sums.service AND gauges.host = sums.host AND gauges.pid = sums.pid
  AND gauges.family = sums.family AND gauges.pool = sums.pool
ORDER BY
  COALESCE(gauges.service, sums.service), COALESCE(gauges.family, sums.family),
  COALESCE(gauges.pool, sums.pool), COALESCE(gauges.host, sums.host),
  COALESCE(gauges.pid, sums.pid)
