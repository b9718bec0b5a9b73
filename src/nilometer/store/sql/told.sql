-- Notifications of this time, each once however often and on however many topics it came, with
-- what their attributes tell in columns; `paths` has those attributes in the order of the
-- columns. Where `needle` is given, only those whose attributes hold that text; where `names` is,
-- only those so called; where `request_ids` is, only those of these requests.
WITH found AS (
  SELECT
    at_ns, name, service, host, region, severity, body, append, delivery,
    JSON_EXTRACT_STRING(attributes, $paths) AS facts
  FROM events
  WHERE scope = $scope AND at_ns >= $since_ns AND at_ns <= $last_ns
    AND ($names IS NULL OR name IN (SELECT UNNEST($names)))
    AND ($needle IS NULL OR CONTAINS(attributes, $needle))
),
plain AS (
  SELECT
    at_ns, name, service, host, region, body, append, delivery,
    COALESCE(facts[1], '') AS id,
    COALESCE(facts[2], '') AS publisher,
    COALESCE(facts[3], '') AS priority,
    COALESCE(facts[4], '') AS exchange,
    COALESCE(facts[5], '') AS topic,
    COALESCE(facts[6], '') AS request_id,
    COALESCE(facts[7], '') AS project_id,
    COALESCE(facts[8], '') AS user_id,
    COALESCE(facts[9], '') AS resource_id,
    COALESCE(facts[10], '') AS state,
    COALESCE(facts[11], '') AS old_state,
    COALESCE(facts[12], '') AS task,
    COALESCE(facts[13], '') AS old_task,
    COALESCE(facts[14], '') AS text,
    ENDS_WITH(name, '.error') OR severity >= 17 OR LOWER(COALESCE(facts[10], '')) = 'error'
      AS is_error,
    CASE
      WHEN region <> '' THEN region
      WHEN facts[4] <> '' THEN facts[4]
      ELSE 'openstack'
    END AS deployment,
    CASE WHEN ENDS_WITH(name, '.start') THEN 0 WHEN ENDS_WITH(name, '.end') THEN 2 ELSE 1 END
      AS place  -- among those of the same time
  FROM found
  WHERE $request_ids IS NULL OR facts[6] IN (SELECT UNNEST($request_ids))
),
told AS (
  SELECT *
  FROM plain
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY id, CASE WHEN id = '' THEN HASH(delivery, name, at_ns) ELSE 0 END
    ORDER BY append
  ) = 1
)
