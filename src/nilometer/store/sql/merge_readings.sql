-- The readings of several files as one: of a batch that was delivered twice, the first arrival.
WITH kept AS (
  SELECT delivery, MIN(append) AS append
  FROM readings
  GROUP BY delivery
)
SELECT readings.*
FROM readings
SEMI JOIN kept
  ON readings.delivery = kept.delivery AND readings.append = kept.append
ORDER BY name, series, ended_ns
