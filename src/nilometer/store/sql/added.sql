-- What `moved` gives where nothing counts from its start, planned without its windows. Goes on with
-- the WITH of `plain`.
, moved AS NOT MATERIALIZED (
  SELECT *
  FROM plain
)
