-- The spans of `once` with the statement that each tells, if any, its values left out: texts,
-- numbers, marks of parameters and the lengths of lists. What goes on with it sees one statement
-- where an application asked the same with other values.
, shaped AS (
  SELECT
    *,
    REGEXP_REPLACE(
      REGEXP_REPLACE(
        REGEXP_REPLACE(
          REGEXP_REPLACE(SUBSTR(statement, 1, 10000), '\s+', ' ', 'g'),
          '''(?:[^''\\]|''''|\\.)*''?|%\([^()]*\)s|%s|\$[0-9]+'
            || '|\b0[xX][0-9a-fA-F]+\b|\b[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?\b',
          '?',
          'g'
        ),
        '\?(?:\s*,\s*\?)+',
        '?',
        'g'
      ),
      '\(\s*\?\s*\)(?:\s*,\s*\(\s*\?\s*\))+',
      '(?)',
      'g'
    ) AS shape
  FROM (
    SELECT
      *,
      COALESCE(
        NULLIF(attributes ->> '$."db.query.text"', ''),
        attributes ->> '$."db.statement"',
        ''
      ) AS statement
    FROM once
  ) AS told
)
