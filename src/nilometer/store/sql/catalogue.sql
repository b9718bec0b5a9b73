-- Every series of every instrument, and when each was last heard of.
SELECT
  name,
  series,
  ANY_VALUE(kind) AS kind,
  ANY_VALUE(unit) AS unit,
  ANY_VALUE(service) AS service,
  ANY_VALUE(host) AS host,
  ANY_VALUE(pid) AS pid,
  ANY_VALUE(region) AS region,
  ANY_VALUE(zone) AS zone,
  ANY_VALUE(version) AS version,
  ANY_VALUE(resource) AS resource,
  ANY_VALUE(scope) AS scope,
  ANY_VALUE(dimensions) AS dimensions,
  MAX(ended_ns) AS ended_ns
FROM readings
WHERE ended_ns >= $since_ns AND ended_ns <= $last_ns
GROUP BY name, series
LIMIT $rows_max
