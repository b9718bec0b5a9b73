-- The head of what asks of counters and timers: how far each series moved with each reading that
-- ended in the time asked for, a batch that was delivered twice once. Questions go on with its
-- WITH, and choose names and services, which leaves most of the readings unread.
--
-- What counts since a start moved by the difference to the reading before it; by all that it
-- says where it fell, as a restart makes it, and where it is the first and began in sight. Sums
-- are decimals: floats would add up to something else in another order. Engines make other
-- decimals of one float, so it is taken apart, which is exact, into whole numbers: how often it
-- has 2**34, what is left of it, and a fraction of nine digits.
WITH delivered AS (
  SELECT delivery, MIN(append) AS append
  FROM readings
  GROUP BY delivery
),
sized AS (
  SELECT *, CASE WHEN ABS(value_float) < 1e29 THEN ABS(value_float) END AS size
  FROM readings
  WHERE kind <> 'gauge' AND ended_ns >= $sight_ns AND ended_ns <= $last_ns
),
parted AS (
  SELECT
    *,
    CAST(FLOOR(size / 17179869184e0) AS BIGINT) AS high,
    size - FLOOR(size / 17179869184e0) * 17179869184e0 AS low
  FROM sized
),
rounded AS (
  SELECT
    *,
    CAST(
      CAST(high AS DECIMAL(20, 0)) * CAST(17179869184 AS DECIMAL(11, 0)) AS DECIMAL(38, 9)
    ) + CAST(CAST(FLOOR(low) AS BIGINT) AS DECIMAL(38, 9)) + CAST(
      CAST(FLOOR((low - FLOOR(low)) * 1e9 + 0.5e0) AS BIGINT)
        * CAST('0.000000001' AS DECIMAL(10, 9)) AS DECIMAL(38, 9)
    ) AS magnitude
  FROM parted
),
counted AS (
  SELECT
    rounded.service, rounded.host, rounded.pid, rounded.region, rounded.zone,
    rounded.version, rounded.resource, rounded.name, rounded.kind, rounded.unit,
    rounded.dimensions, rounded.series, rounded.started_ns, rounded.ended_ns,
    rounded.cumulative, rounded.samples, rounded.append,
    COALESCE(
      CAST(value_int AS DECIMAL(38, 9)),
      CASE WHEN value_float < 0e0 THEN -magnitude ELSE magnitude END
    ) AS total
  FROM rounded
  JOIN delivered
    ON rounded.delivery = delivered.delivery AND rounded.append = delivered.append
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
