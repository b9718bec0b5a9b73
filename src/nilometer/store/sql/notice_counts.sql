-- How many notifications of each name there were, by deployment and host, each counted once. Of
-- their attributes only `paths` are read, exchange and id: it is asked of weeks.
WITH found AS (
  SELECT
    name, host, region,
    JSON_EXTRACT_STRING(attributes, $paths) AS facts,
    HASH(delivery, name, at_ns) AS told
  FROM events
  WHERE scope = $scope AND at_ns >= $since_ns AND at_ns <= $last_ns
)
SELECT
  CASE
    WHEN region <> '' THEN region
    WHEN facts[1] <> '' THEN facts[1]
    ELSE 'openstack'
  END AS deployment,
  host,
  name,
  COUNT(DISTINCT COALESCE(facts[2], CAST(told AS VARCHAR))) AS number
FROM found
GROUP BY deployment, host, name
ORDER BY deployment, host, name
LIMIT $rows_max
