-- Which dimensions tell the series of each instrument apart.
WITH told AS (
  SELECT DISTINCT name, dimensions
  FROM readings
  WHERE STARTS_WITH(name, $prefix) AND name <= $last
    AND ended_ns >= $since_ns AND ended_ns < $until_ns
)
SELECT DISTINCT name, UNNEST(JSON_KEYS(dimensions)) AS key
FROM told
ORDER BY name, key
