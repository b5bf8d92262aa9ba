SELECT left(i.title, 44) AS title, i.year,
	array_to_string(i.genres[1:3], ', ') AS genres
FROM items i
WHERE i.genres @> '{Comedy}' AND i.year >= 1990
	AND NOT EXISTS (SELECT FROM events e
		WHERE e.user_id = :user AND e.item_id = i.id)
ORDER BY i.embedding <#> (SELECT recsys.embed('films/user', u)
	FROM user_features u WHERE u.user_id = :user)
LIMIT 20;
