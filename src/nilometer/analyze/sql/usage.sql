-- Who used a service: requests, their time and their errors, by everything that a reading says
-- of whom it was for; the timers that the pattern names, and the counters of their errors.
, chosen AS (
  SELECT *
  FROM moved
  WHERE service LIKE $service ESCAPE '!'
    AND (
      (kind = 'distribution' AND name LIKE $timer ESCAPE '!')
      OR (kind = 'counter' AND name LIKE ($timer || '.errors') ESCAPE '!')
    )
)
SELECT
  service,
  region,
  zone,
  resource,
  dimensions,
  unit,
  SUM(CASE WHEN kind = 'distribution' THEN samples ELSE 0 END) AS requests,
  SUM(CASE WHEN kind = 'distribution' THEN total END) AS total,
  SUM(CASE WHEN kind = 'counter' THEN total END) AS errors
FROM chosen
GROUP BY service, region, zone, resource, dimensions, unit
