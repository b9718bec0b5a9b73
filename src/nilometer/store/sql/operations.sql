-- What tells of operations: their starts, ends and errors, and that nova's API was asked; the
-- latest first.
SELECT
  at_ns, name, service, host, region, id, publisher, priority, exchange, topic, request_id,
  project_id, user_id, resource_id, state, old_state, task, old_task, text, is_error
FROM told
WHERE (
    ENDS_WITH(name, '.start') OR ENDS_WITH(name, '.end') OR ENDS_WITH(name, '.error')
    OR (name IN (SELECT UNNEST($asked)) AND CONTAINS(service, 'api'))
  )
  AND ($prefix IS NULL OR STARTS_WITH(name, $prefix) OR name IN (SELECT UNNEST($asked)))
  AND (
    $resource_ids IS NULL
    OR (request_id = '' AND resource_id IN (SELECT UNNEST($resource_ids)))
  )
  AND (
    $project_id IS NULL OR project_id = $project_id
    OR (
      request_id <> ''
      AND request_id IN (SELECT request_id FROM told WHERE project_id = $project_id)
    )
  )
  AND (
    $resource_id IS NULL OR resource_id = $resource_id
    OR (
      resource_id = '' AND request_id <> ''
      AND request_id IN (SELECT request_id FROM told WHERE resource_id = $resource_id)
    )
  )
ORDER BY at_ns DESC, id
LIMIT $rows_max
