-- Notifications with their bodies, the latest first.
SELECT at_ns, id, name, topic, priority, body
FROM told
WHERE ($resource_id IS NULL OR resource_id = $resource_id)
ORDER BY at_ns DESC, id
LIMIT $rows_max
OFFSET $offset
