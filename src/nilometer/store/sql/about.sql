-- Events of any kind in which a text stands by itself, the latest first: `req-1` does not stand in
-- `req-12`. `needle` is the text as JSON has it. Where `led_to` is given, notifications are only
-- those of that request, or with `led_to` in the message: of requests that it led to. Each
-- notification counts once, and what was delivered twice counts once; notifications come without
-- their message, which nobody reads on.
WITH found AS (
  SELECT * REPLACE (CASE WHEN scope = $scope THEN '' ELSE body END AS body)
  FROM events
  WHERE at_ns >= $since_ns AND at_ns <= $last_ns
    AND CASE  -- in this order: looking for a text costs a tenth of matching a pattern
      WHEN NOT (
        CONTAINS(attributes, $needle) OR CONTAINS(body, $text)
        OR ($needle <> $text AND CONTAINS(body, $needle))
      )
        THEN FALSE
      WHEN $led_to IS NOT NULL AND scope = $scope
        THEN JSON_EXTRACT_STRING(attributes, '$.request_id') = $text OR CONTAINS(body, $led_to)
      ELSE
        REGEXP_MATCHES(
          attributes, '(^|[^\w-])' || REGEXP_ESCAPE($needle) || '($|[^\w-])'
        )
        OR REGEXP_MATCHES(body, '(^|[^\w-])' || REGEXP_ESCAPE($text) || '($|[^\w-])')
        OR (
          $needle <> $text
          AND REGEXP_MATCHES(body, '(^|[^\w-])' || REGEXP_ESCAPE($needle) || '($|[^\w-])')
        )
    END
),
kept AS (
  SELECT delivery, MIN(append) AS append
  FROM found
  GROUP BY delivery
)
SELECT found.*
FROM found
SEMI JOIN kept ON found.delivery = kept.delivery AND found.append = kept.append
QUALIFY scope <> $scope OR ROW_NUMBER() OVER (
  PARTITION BY
    scope,
    COALESCE(
      JSON_EXTRACT_STRING(attributes, $identity),
      CAST(HASH(found.delivery, name, at_ns) AS VARCHAR)
    )
  ORDER BY found.append
) = 1
ORDER BY
  at_ns DESC,
  CASE WHEN ENDS_WITH(name, '.start') THEN 0 WHEN ENDS_WITH(name, '.end') THEN 2 ELSE 1 END DESC,
  JSON_EXTRACT_STRING(attributes, $identity) DESC
LIMIT $rows_max
