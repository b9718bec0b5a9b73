-- These requests, the latest first, each summed up of all that notifications tell of it.
SELECT
  request_id AS id,
  MIN(at_ns) AS started_ns,
  MAX(at_ns) AS ended_ns,
  COUNT(*) AS notifications,
  COUNT(*) FILTER (WHERE is_error) AS errors,
  ARG_MIN(name, ROW(at_ns, place, id)) AS first,
  ARG_MAX(name, ROW(at_ns, place, id)) AS last,
  COALESCE(ARG_MAX(project_id, at_ns) FILTER (WHERE project_id <> ''), '') AS project_id,
  LIST_SORT(LIST(DISTINCT resource_id) FILTER (WHERE resource_id <> '')) AS resources,
  LIST_SORT(LIST(DISTINCT service)) AS services
FROM told
WHERE request_id <> ''
GROUP BY request_id
HAVING ($project_id IS NULL OR BOOL_OR(project_id = $project_id))
  AND ($service IS NULL OR BOOL_OR(service = $service))
  AND ($failed IS NULL OR BOOL_OR(is_error) = $failed)
ORDER BY started_ns DESC, id
LIMIT $rows_max
