-- Ids of requests that notifications of a time tell of, and from when to when they are told of;
-- all that is given must hold for one of a request's notifications, also of those around that
-- time. Those that began last first, as `requests.sql` has them; so what is left out here would
-- have been behind what is asked for.
WITH told AS (
  SELECT
    at_ns, name, service, severity, attributes,
    JSON_EXTRACT_STRING(attributes, $request_path) AS id
  FROM events
  WHERE scope = $scope AND at_ns >= $first_ns AND at_ns <= $final_ns
),
met AS (
  SELECT DISTINCT id
  FROM told
  WHERE at_ns >= $since_ns AND at_ns <= $last_ns AND id <> ''
),
facts AS (
  SELECT
    id, at_ns, service,
    JSON_EXTRACT_STRING(attributes, $project_path) AS project_id,
    ENDS_WITH(name, '.error') OR severity >= 17
      OR LOWER(COALESCE(JSON_EXTRACT_STRING(attributes, $state_path), '')) = 'error' AS is_error
  FROM told SEMI JOIN met USING (id)
)
SELECT id, MIN(at_ns) AS first_ns, MAX(at_ns) AS last_ns
FROM facts
GROUP BY id
HAVING ($project_id IS NULL OR BOOL_OR(project_id = $project_id))
  AND ($service IS NULL OR BOOL_OR(service = $service))
  AND ($failed IS NULL OR BOOL_OR(is_error) = $failed)
ORDER BY first_ns DESC, id
LIMIT $rows_max
