-- Every series of some instruments, and when each was last heard of.
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
WHERE name >= $first AND name <= $last AND LIST_CONTAINS($names, name)
  AND ended_ns >= $since_ns AND ended_ns <= $last_ns
GROUP BY name, series
ORDER BY name, service, host, pid, dimensions, series
LIMIT $rows_max
