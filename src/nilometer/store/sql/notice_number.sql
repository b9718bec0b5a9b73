-- How many notifications of this time came, those that came twice counted twice.
SELECT COUNT(*) AS number
FROM events
WHERE scope = $scope AND at_ns >= $since_ns AND at_ns <= $last_ns
