-- Ids of requests that notifications of this time tell of, those told of last first.
SELECT id
FROM (
  SELECT at_ns, JSON_EXTRACT_STRING(attributes, $path) AS id
  FROM events
  WHERE scope = $scope AND at_ns >= $since_ns AND at_ns <= $last_ns
)
WHERE id <> ''
GROUP BY id
ORDER BY MAX(at_ns) DESC, id
LIMIT $ids_max
