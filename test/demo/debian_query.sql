SELECT i.name, i.section, pg_size_pretty(i.size_kb * 1024) AS size,
	left(i.description, 46) AS description
FROM items i
WHERE i.section IN ('admin', 'devel', 'net', 'utils') AND i.size_kb < 20480
	AND NOT EXISTS (SELECT FROM events e
		WHERE e.user_id = :user AND e.item_id = i.id)
ORDER BY i.embedding <#> (SELECT recsys.embed('packages/user', u)
	FROM user_features u WHERE u.user_id = :user)
LIMIT 20;
