-- The events of several files as one: of a batch that was delivered twice, the first arrival.
WITH kept AS (
  SELECT delivery, MIN(append) AS append
  FROM events
  GROUP BY delivery
)
SELECT events.*
FROM events
SEMI JOIN kept
  ON events.delivery = kept.delivery AND events.append = kept.append
ORDER BY name, at_ns
