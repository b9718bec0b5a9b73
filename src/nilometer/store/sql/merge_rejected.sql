-- What was rejected, of several files as one: of a batch that was delivered twice, the first
-- arrival.
WITH kept AS (
  SELECT delivery, MIN(append) AS append
  FROM rejected
  GROUP BY delivery
)
SELECT rejected.*
FROM rejected
SEMI JOIN kept
  ON rejected.delivery = kept.delivery AND rejected.append = kept.append
ORDER BY at_ns
