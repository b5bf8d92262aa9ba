-- metrics.sql
--		Recall@20 and NDCG@20 of a table that top.sql made.  Variable: top.

WITH wanted AS
(
	SELECT user_id, least(20, count(*))::integer AS most
	FROM held_out
	GROUP BY user_id
),
found AS
(
	SELECT user_id, count(*) AS hits, sum(1 / log(2, t.rank + 1)) AS gain
	FROM :top t JOIN held_out USING (user_id, item_id)
	GROUP BY user_id
)
SELECT
	avg(coalesce(hits, 0)::double precision / most),
	avg(coalesce(gain, 0) /
		(SELECT sum(1 / log(2, r + 1)) FROM generate_series(1, most) r))
FROM wanted LEFT JOIN found USING (user_id);
