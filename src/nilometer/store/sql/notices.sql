-- The notifications that are as asked for, by time; `newest` says from which end.
SELECT
  at_ns, name, service, host, region, id, publisher, priority, exchange, topic, request_id,
  project_id, user_id, resource_id, state, old_state, task, old_task, text, is_error
FROM told
WHERE ($service IS NULL OR service = $service)
  AND ($host IS NULL OR host = $host)
  AND ($deployment IS NULL OR deployment = $deployment)
  AND ($id IS NULL OR id = $id)
  AND ($publisher IS NULL OR publisher = $publisher)
  AND ($request_id IS NULL OR request_id = $request_id)
  AND ($project_id IS NULL OR project_id = $project_id)
  AND ($user_id IS NULL OR user_id = $user_id)
  AND ($resource_id IS NULL OR resource_id = $resource_id)
  AND ($state IS NULL OR state = $state)
  AND ($old_state IS NULL OR old_state = $old_state)
  AND ($task IS NULL OR task = $task)
  AND ($old_task IS NULL OR old_task = $old_task)
  AND ($failed IS NULL OR is_error = $failed)
  AND ($first_words IS NULL OR SPLIT_PART(name, '.', 1) IN (SELECT UNNEST($first_words)))
  AND (
    $other_words IS NULL OR SPLIT_PART(name, '.', 1) NOT IN (SELECT UNNEST($other_words))
  )
ORDER BY
  CASE WHEN $newest THEN -at_ns ELSE at_ns END,
  CASE WHEN $newest THEN -place ELSE place END,
  id
LIMIT $rows_max
OFFSET $offset
