-- recsys_hnsw: by which strategy a scan with a filter finds its rows
SET client_min_messages = warning;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET jit = off;
CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;
-- anywhere has nothing to do with the query, far goes against it
CREATE TABLE items AS
	SELECT i AS id, i % 1000 AS anywhere, pg_temp.noise(i, 16) AS v
	FROM generate_series(1, 12000) i;
ALTER TABLE items ADD far int;
CREATE TABLE query AS SELECT pg_temp.noise(0, 16) AS q;
UPDATE items i SET far = r.rank FROM (
	SELECT id, row_number() OVER (ORDER BY v <#> q DESC, id) AS rank FROM items, query) r
WHERE r.id = i.id;
CREATE INDEX items_v ON items USING recsys_hnsw (v, anywhere, far);
VACUUM ANALYZE items;

-- rows found, those of them that are among the best k, and how
CREATE FUNCTION pg_temp.find(cond text, k int, OUT strategy text, OUT rows int,
	OUT best int, OUT visited bigint, OUT filtered_out bigint)
LANGUAGE plpgsql AS $$
DECLARE
	found int[];
	exact int[];
BEGIN
	EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM items WHERE %s '
		'ORDER BY v <#> (SELECT q FROM query) LIMIT %s) x', cond, k) INTO found;
	SELECT l.strategy, l.visited, l.filtered_out INTO strategy, visited, filtered_out
	FROM recsys.last_scan() l;
	EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM items WHERE %s '
		'ORDER BY (v <#> (SELECT q FROM query)) + 0 LIMIT %s) x', cond, k) INTO exact;
	rows := cardinality(found);
	best := (SELECT count(*) FROM unnest(found) f WHERE f = ANY (exact));
END $$;

-- many rows match: the graph; few: all of them, and no node besides
SELECT cond, strategy, rows, best >= 0.9 * k AS good, visited < 2000 AS few_visits
FROM (VALUES ('anywhere < 500', 10), ('anywhere < 500', 100), ('anywhere < 100', 10)) c (cond, k),
	pg_temp.find(cond, k);
SELECT cond, strategy, rows, best, visited, filtered_out
FROM (VALUES ('anywhere = 7', 10), ('anywhere < 3', 10), ('anywhere IN (1, 5)', 100),
	('anywhere = 7 AND far > 6000', 10), ('anywhere > 2000', 10), ('far < 50', 10)) c (cond, k),
	pg_temp.find(cond, k);
-- what goes against the query is given up in time: the graph, then all that match
SELECT cond, strategy, rows, best, visited < 2 * matching + 1000 AS bounded
FROM (VALUES ('far <= 600', 10, 600), ('far <= 1200', 100, 1200)) c (cond, k, matching),
	pg_temp.find(cond, k);
-- a scan that goes on has every row that matches, once and in order
SELECT count(*), count(DISTINCT id), bool_and(anywhere < 400)
FROM (SELECT id, anywhere FROM items WHERE anywhere < 400 ORDER BY v <#> (SELECT q FROM query) LIMIT 100000) x;
SELECT strategy, rows FROM recsys.last_scan();
-- no condition, or one that holds for every row, is no filter
SELECT count(*) FROM (SELECT FROM items WHERE v IS NOT NULL ORDER BY v <#> (SELECT q FROM query) LIMIT 5) x;
SELECT strategy, filtered_out IS NULL AS no_filter FROM recsys.last_scan();
-- nothing is read for a condition that no row can satisfy
BEGIN;
SELECT count(*) FROM (SELECT FROM items WHERE anywhere = NULL::int ORDER BY v <#> (SELECT q FROM query) LIMIT 5) x;
SELECT id FROM items WHERE anywhere < (SELECT NULL::int) ORDER BY v <#> (SELECT q FROM query) LIMIT 5;
SELECT strategy IS NULL AS none, visited FROM recsys.last_scan();
COMMIT;

-- several rows of one vector, each with its own keys: some in the node, some in
-- postings; an updated key is seen at once
CREATE TABLE same (id int, v vector(16), a int, b int);
INSERT INTO same SELECT i, pg_temp.noise(i % 3, 16), i % 10, i FROM generate_series(1, 900) i;
CREATE INDEX same_v ON same USING recsys_hnsw (v, a, b);
INSERT INTO same SELECT i, pg_temp.noise(i % 3, 16), i % 10, i FROM generate_series(901, 1500) i;
SELECT nodes, rows, postings > 0 AS has_postings FROM recsys.index_stats('same_v');
SELECT count(*), bool_and(a = 3) FROM (
	SELECT a FROM same WHERE a = 3 ORDER BY v <#> (SELECT q FROM query) LIMIT 2000) x;
UPDATE same SET a = 42 WHERE b % 50 = 0;
SELECT count(*), count(DISTINCT id) FROM (
	SELECT id FROM same WHERE a = 42 ORDER BY v <#> (SELECT q FROM query) LIMIT 2000) x;
SELECT count(*) FROM (
	SELECT id FROM same WHERE a = 0 ORDER BY v <#> (SELECT q FROM query) LIMIT 2000) x;
VACUUM same;
SELECT recsys.check_index('same_v');
SELECT count(*), count(DISTINCT id) FROM (
	SELECT id FROM same WHERE a = 42 AND b > 700 ORDER BY v <#> (SELECT q FROM query) LIMIT 2000) x;

-- the places of dead rows are used again, on the key tape too
SELECT pages FROM recsys.index_stats('same_v') \gset
SELECT command FROM generate_series(1, 5) round, unnest(ARRAY['DELETE FROM same', 'VACUUM same',
	'INSERT INTO same SELECT i, pg_temp.noise(i % 3, 16), i % 10, i FROM generate_series(1, 1500) i'])
	WITH ORDINALITY c (command, n) ORDER BY round, n \gexec
SELECT pages <= :pages AS no_growth, rows FROM recsys.index_stats('same_v');
SELECT recsys.check_index('same_v');

-- many dimensions: codes of one bit, and of one that leave dimensions out
CREATE TABLE wide AS SELECT i AS id, pg_temp.noise(i, 1000) AS v1000,
	pg_temp.noise(-i, 2100) AS v2100, i % 2 AS a FROM generate_series(1, 200) i;
CREATE INDEX wide_v1000 ON wide USING recsys_hnsw (v1000, a);
CREATE INDEX wide_v2100 ON wide USING recsys_hnsw (v2100, a);
INSERT INTO wide SELECT i, pg_temp.noise(i, 1000), pg_temp.noise(-i, 2100), i % 2
	FROM generate_series(201, 250) i;
SELECT recsys.check_index('wide_v1000'), recsys.check_index('wide_v2100');
SELECT id, (SELECT array_agg(id) FROM (SELECT id FROM wide WHERE a = t.a ORDER BY v1000 <-> t.v1000 LIMIT 1) x) AS by_v1000,
	(SELECT array_agg(id) FROM (SELECT id FROM wide WHERE a = t.a ORDER BY v2100 <#> t.v2100 LIMIT 1) x) AS by_v2100
FROM wide t WHERE id IN (7, 8, 230);
SELECT index, strategy, rows, visited < 125 AS some FROM recsys.last_scan();
DROP TABLE items, query, same, wide;
