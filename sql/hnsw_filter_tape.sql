-- recsys_hnsw: the parts of the key tape that a scan with a filter reads
SET client_min_messages = warning;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET jit = off;
CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;
-- clusters of rows, of lengths that differ; so many columns that a page has 32 rows
CREATE TABLE centres AS SELECT i AS id, pg_temp.noise(-i, 16) AS v FROM generate_series(0, 39) i;
CREATE FUNCTION pg_temp.item(i bigint) RETURNS vector LANGUAGE sql STABLE AS $$
	SELECT array_agg(((1 + i % 7) * (c + 0.5 * n))::real ORDER BY o)::vector
	FROM unnest((SELECT v FROM centres WHERE id = i % 40)::real[], pg_temp.noise(i, 16)::real[])
		WITH ORDINALITY u (c, n, o) $$;
CREATE TABLE items AS SELECT i AS id, i % 10 AS a, i % 3 AS b, 0 AS c,
	pg_temp.item(abs(hashint4(i)::bigint)) AS v FROM generate_series(1, 8000) i;
CREATE INDEX items_ip ON items USING recsys_hnsw (v vector_ip_ops, a, b, c, c, c, c, c, c, c, c, c, c, c, c, c, c);
CREATE TABLE queries AS SELECT i AS id, pg_temp.item(abs(hashint4(-i)::bigint)) AS q
	FROM generate_series(1, 10) i;

-- the share of the best k of rows that satisfy a condition that scans find, of all
-- queries, by their distances; whether a row came twice or does not satisfy it; rows
-- looked at
CREATE FUNCTION pg_temp.find(cond text, k int, op text, OUT recall numeric, OUT wrong bigint,
	OUT strategy text, OUT seen bigint)
LANGUAGE plpgsql AS $$
DECLARE
	query queries;
	best bigint := 0;
	wanted bigint := 0;
	this record;
BEGIN
	wrong := 0;
	seen := 0;
	FOR query IN SELECT * FROM queries ORDER BY id LOOP
		EXECUTE format('SELECT array_agg(distance) AS ds, count(*) - count(DISTINCT id) '
			'+ count(*) FILTER (WHERE (%s) IS NOT TRUE) AS wrong FROM (SELECT *, v %s $1 AS distance '
			'FROM items WHERE %1$s ORDER BY v %2$s $1 LIMIT %s) x', cond, op, k) INTO this USING query.q;
		wrong := wrong + this.wrong;
		SELECT l.strategy, find.seen + l.rows + l.filtered_out INTO strategy, seen
		FROM recsys.last_scan() l;
		EXECUTE format('SELECT $2 + count(*), $3 + (SELECT count(*) FROM unnest($4) f WHERE f <= max(distance) + 1e-4) '
			'FROM (SELECT v %s $1 AS distance FROM items WHERE %s ORDER BY (v %1$s $1) + 0 LIMIT %3$s) x', op, cond, k)
			INTO wanted, best USING query.q, wanted, best, this.ds;
	END LOOP;
	recall := best::numeric / wanted;
	seen := seen / (SELECT count(*) FROM queries);
END $$;
CREATE FUNCTION pg_temp.try(op text) RETURNS TABLE (cond text, k int, good boolean, wrong bigint)
LANGUAGE sql AS $$
	SELECT c.cond, c.k, recall >= CASE WHEN c.k = 3000 THEN 1 ELSE 0.9 END, f.wrong
	FROM (VALUES ('a = 3', 10), ('a = 3 AND b = 1', 10), ('a = 3', 3000), ('id % 500 = 1 AND a = 1', 40)) c (cond, k),
		pg_temp.find(c.cond, c.k, op) f $$;

-- after the build a part is enough for few rows; all are found in the end
SELECT * FROM pg_temp.try('<#>');
SELECT strategy, seen < 0.7 * (SELECT count(*) FROM items) AS part FROM pg_temp.find('a = 3', 10, '<#>');
SELECT recsys.check_index('items_ip');

-- rows that come later lie anywhere, and are found wherever they are put
INSERT INTO items SELECT 8000 + i, 3, 1, 0, q.q FROM generate_series(1, 200) i
	JOIN queries q ON q.id = 1 + i % 10;
SELECT * FROM pg_temp.try('<#>');
-- places that VACUUM leaves in the parts that the build has filled
DELETE FROM items WHERE id % 4 = 0 AND id <= 8000;
VACUUM items;
INSERT INTO items SELECT 20000 + i, 3, 1, 0, q.q FROM generate_series(1, 1000) i
	JOIN queries q ON q.id = 1 + i % 10;
SELECT * FROM pg_temp.try('<#>');
SELECT recsys.check_index('items_ip');
-- parts that are half empty are given up, and filled with other rows
DELETE FROM items WHERE id % 3 > 0 AND id <= 8000;
VACUUM items;
SELECT pages FROM recsys.index_stats('items_ip') \gset
INSERT INTO items SELECT 30000 + i, 3, i % 3, 0, q.q FROM generate_series(1, 1000) i
	JOIN queries q ON q.id = 1 + i % 10;
SELECT * FROM pg_temp.try('<#>');
SELECT recsys.check_index('items_ip'), pages <= :pages + 5 AS no_growth
FROM recsys.index_stats('items_ip');
-- other keys for rows that are there
UPDATE items SET a = 3, b = 1 WHERE id % 20 = 7;
SELECT * FROM pg_temp.try('<#>');
VACUUM items;
SELECT * FROM pg_temp.try('<#>');
SELECT recsys.check_index('items_ip');
DROP INDEX items_ip;

-- the other metrics
DELETE FROM items WHERE id > 8000;
CREATE INDEX items_l2 ON items USING recsys_hnsw (v vector_l2_ops, a, b, c, c, c, c, c, c, c, c, c, c, c, c, c, c);
SELECT * FROM pg_temp.try('<->');
SELECT recsys.check_index('items_l2');
DROP INDEX items_l2;
CREATE INDEX items_cosine ON items USING recsys_hnsw (v vector_cosine_ops, a, b, c, c, c, c, c, c, c, c, c, c, c, c, c, c);
SELECT * FROM pg_temp.try('<=>');
SELECT recsys.check_index('items_cosine');
DROP TABLE items, queries, centres;
