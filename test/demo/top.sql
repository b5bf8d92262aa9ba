-- top.sql
--		The best 20 items of every user with something held out, kept in a
--		table.  Variables: model, and top, the name of the table.

CREATE TABLE :top AS
WITH u AS MATERIALIZED
(
	SELECT f.user_id, recsys.embed(:'model', f) AS v
	FROM user_features f
	WHERE EXISTS (SELECT FROM held_out h WHERE h.user_id = f.user_id)
)
SELECT u.user_id, t.item_id, t.rank
FROM u, LATERAL
(
	SELECT s.id AS item_id, row_number() OVER () AS rank
	FROM
	(
		SELECT i.id
		FROM items i
		WHERE i.embedding IS NOT NULL
			AND NOT EXISTS (SELECT FROM events e
				WHERE e.user_id = u.user_id AND e.item_id = i.id)
		ORDER BY i.embedding <#> u.v
		LIMIT 20
	) s
) t;
