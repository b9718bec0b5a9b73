-- The head of what asks of counters and timers: how far each series moved with each reading that
-- ended in the time asked for, a batch that was delivered twice once. Questions go on with its
-- WITH, and choose names and services, which leaves most of the readings unread.
--
-- What counts since a start moved by the difference to the reading before it; by all that it
-- says where it fell, as a restart makes it, and where it is the first and began in sight. Sums
-- are decimals: floats would add up to something else in another order.
WITH delivered AS (
  SELECT delivery, MIN(append) AS append
  FROM readings
  GROUP BY delivery
),
counted AS (
  SELECT
    readings.service, readings.host, readings.pid, readings.region, readings.zone,
    readings.version, readings.resource, readings.name, readings.kind, readings.unit,
    readings.dimensions, readings.series, readings.started_ns, readings.ended_ns,
    readings.cumulative, readings.samples, readings.append,
    COALESCE(
      CAST(readings.value_int AS DECIMAL(38, 9)),
      TRY_CAST(readings.value_float AS DECIMAL(38, 9))
    ) AS total
  FROM readings
  JOIN delivered
    ON readings.delivery = delivered.delivery AND readings.append = delivered.append
  WHERE readings.kind <> 'gauge'
    AND readings.ended_ns >= $sight_ns AND readings.ended_ns <= $last_ns
),
preceded AS (
  SELECT
    *,
    LAG(total) OVER (
      PARTITION BY service, name, series, cumulative, started_ns
      ORDER BY ended_ns, samples, total, append
    ) AS total_before,
    LAG(samples) OVER (
      PARTITION BY service, name, series, cumulative, started_ns
      ORDER BY ended_ns, samples, total, append
    ) AS samples_before,
    ROW_NUMBER() OVER (
      PARTITION BY service, name, series, cumulative, started_ns
      ORDER BY ended_ns, samples, total, append
    ) AS place
  FROM counted
  WHERE kind = 'distribution' OR total IS NOT NULL
),
moved AS (
  SELECT
    service, host, pid, region, zone, version, resource, name, kind, unit, dimensions, series,
    started_ns, ended_ns,
    CASE
      WHEN NOT cumulative OR place = 1 OR samples < samples_before
        OR (kind = 'counter' AND total < total_before)
      THEN total
      ELSE total - total_before
    END AS total,
    CASE
      WHEN NOT cumulative OR place = 1 OR samples < samples_before
      THEN samples
      ELSE samples - samples_before
    END AS samples
  FROM preceded
  WHERE ended_ns >= $since_ns
    AND (NOT cumulative OR place > 1 OR started_ns >= $sight_ns)
)
