-- recsys_hnsw: the list of the longest nodes, which scans by inner product read first
SET client_min_messages = warning;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET jit = off;
CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;
-- of such a length; of lengths from 1 to exp(spread)
CREATE FUNCTION pg_temp.sized(seed bigint, dim int, length float8) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT l2_normalize(pg_temp.noise(seed, dim)) * array_fill(length::real, ARRAY[dim])::vector $$;
CREATE FUNCTION pg_temp.item(seed bigint, dim int, spread float8) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT pg_temp.sized(seed, dim, exp(spread * (hashint8extended(seed, 0) & 65535) / 65536)) $$;
CREATE FUNCTION pg_temp.queries(n int, dim int) RETURNS vector[]
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(pg_temp.noise(-i, dim)) FROM generate_series(1, n) i $$;

-- the longest nodes of a build, 16 * sqrt(nodes)
CREATE TABLE items AS SELECT i AS id, pg_temp.item(i, 128, 7) AS v FROM generate_series(1, 2500) i;
CREATE INDEX items_v ON items USING recsys_hnsw (v);
VACUUM ANALYZE items;
SELECT nodes, long_nodes, long_nodes = floor(16 * sqrt(nodes)) AS due, recsys.check_index('items_v') FROM recsys.index_stats('items_v');

-- they are found at once: by the few nodes that a scan visits where it is told not
-- to look for more
SELECT recsys.index_recall('items_v', pg_temp.queries(100, 128), 10) > 0.96 AS right;
SET recsys.hnsw_ef_search = 1;
SELECT recsys.index_recall('items_v', pg_temp.queries(100, 128), 10) > 0.89 AS right;
RESET recsys.hnsw_ef_search;
CREATE FUNCTION pg_temp.visits(tab regclass, queries vector[], k int) RETURNS TABLE (visited bigint)
LANGUAGE plpgsql AS $$
DECLARE q vector;
BEGIN
	FOREACH q IN ARRAY queries LOOP
		EXECUTE format('SELECT count(*) FROM (SELECT FROM %s ORDER BY v <#> $1 LIMIT $2) x', tab) USING q, k;
		RETURN QUERY SELECT s.visited FROM recsys.last_scan() s;
	END LOOP;
END $$;
SELECT max(visited) < 50 AS few, avg(visited) < 30 AS fewer FROM pg_temp.visits('items', pg_temp.queries(100, 128), 10);

-- a scan of several stages, which reads the list again for each
CREATE FUNCTION pg_temp.in_stages(tab text, condition text, q vector, k int, OUT rows bigint,
	OUT ids bigint, OUT in_order bool, OUT visited bigint, OUT right_ids bigint)
LANGUAGE plpgsql AS $$
DECLARE
	found int[];
	distances float8[];
BEGIN
	EXECUTE format('SELECT array_agg(id), array_agg(d) FROM
		(SELECT id, v <#> $1 AS d FROM %s WHERE %s ORDER BY v <#> $1 LIMIT $2) s', tab, condition)
	INTO found, distances USING q, k;
	visited := (SELECT s.visited FROM recsys.last_scan() s);
	EXECUTE format('SELECT count(*) FROM
		(SELECT id FROM %s WHERE %s ORDER BY (v <#> $1) + 0 LIMIT $2) s WHERE id = ANY ($3)', tab, condition)
	INTO right_ids USING q, k, found;
	rows := cardinality(found);
	ids := (SELECT count(DISTINCT id) FROM unnest(found) id);
	in_order := distances = (SELECT array_agg(d ORDER BY d) FROM unnest(distances) d);
END $$;
SELECT k, condition, rows, ids, in_order, visited BETWEEN k AND 2000 AS some, right_ids >= 0.9 * k AS right
FROM (VALUES (10, 'id % 3 = 1'), (20, 'id % 4 = 1'), (40, 'id % 2 = 1')) c (k, condition),
	pg_temp.in_stages('items', condition, pg_temp.noise(-7, 128), k);
-- all rows, of which the list has some
SELECT k, condition, rows, ids, in_order, visited, right_ids
FROM (VALUES (2500, 'true'), (1250, 'id % 2 = 1')) c (k, condition),
	pg_temp.in_stages('items', condition, pg_temp.noise(-8, 128), k);
DROP TABLE items;

-- inserts: longer rows enter the list, shorter ones do not; other metrics have none
CREATE TABLE items AS SELECT i AS id, pg_temp.item(i, 16, 2) AS v FROM generate_series(1, 1200) i;
CREATE INDEX items_v ON items USING recsys_hnsw (v) WITH (ef_construction = 20);
CREATE INDEX items_l2 ON items USING recsys_hnsw (v vector_l2_ops) WITH (ef_construction = 20);
CREATE INDEX items_cosine ON items USING recsys_hnsw (v vector_cosine_ops) WITH (ef_construction = 20);
CREATE VIEW pg_temp.state AS SELECT i.indexrelid::regclass AS index, nodes, long_nodes, recsys.check_index(i.indexrelid)::text
	FROM pg_index i, recsys.index_stats(i.indexrelid) WHERE indrelid = to_regclass('items') ORDER BY i.indexrelid;
SELECT * FROM state;
INSERT INTO items SELECT i, pg_temp.sized(i, 16, 0.5) FROM generate_series(1201, 1250) i;
SELECT * FROM state;
INSERT INTO items SELECT i, pg_temp.sized(i, 16, 8 + i * 0.001) FROM generate_series(1251, 1300) i;
SELECT * FROM state;
DROP INDEX items_l2, items_cosine;
-- rows of vectors that are there have no nodes of their own
INSERT INTO items SELECT i + 1000, pg_temp.sized(i, 16, 8 + i * 0.001) FROM generate_series(1251, 1300) i;
SELECT * FROM state;

-- so many that the list is cut: the longest stay
INSERT INTO items SELECT i, pg_temp.sized(i, 16, 10 + i * 0.001) FROM generate_series(3001, 4200) i;
SELECT long_nodes AS before, check_index FROM state \gset
INSERT INTO items SELECT i, pg_temp.sized(i, 16, 10 + i * 0.001) FROM generate_series(4201, 4700) i;
SELECT nodes, :before > 1700 AS before, long_nodes < 1500 AS after, check_index FROM state;
SELECT recsys.index_recall('items_v', pg_temp.queries(50, 16), 10) > 0.97 AS right;
SELECT count(*) FROM generate_series(4201, 4700, 10) i, LATERAL
	(SELECT id FROM items ORDER BY v <#> pg_temp.sized(i, 16, 10 + i * 0.001) LIMIT 1) found WHERE found.id = i;
-- what is shorter than the list does not come back
INSERT INTO items SELECT i, pg_temp.sized(i, 16, 10) FROM generate_series(5001, 5100) i;
SELECT long_nodes AS later FROM state \gset
INSERT INTO items SELECT i, pg_temp.sized(i, 16, 10) FROM generate_series(5101, 5200) i;
SELECT long_nodes = :later AS same FROM state;

-- the long rows go: the list has what is left, and is filled again by what comes
DELETE FROM items WHERE id > 1000 AND id NOT BETWEEN 4671 AND 4700;
VACUUM items;
SELECT * FROM state;
SELECT recsys.index_recall('items_v', pg_temp.queries(50, 16), 10) > 0.95 AS right;
-- it cannot be taken for whole
SELECT avg(visited) > 25 AS many FROM pg_temp.visits('items', pg_temp.queries(20, 16), 10);
-- it has fewer nodes than a scan wants, and none for its second stage
SELECT k, rows, ids, in_order, right_ids >= 0.9 * k AS right
FROM (VALUES (10, 'id % 3 = 1'), (1000, 'true')) c (k, condition), pg_temp.in_stages('items', condition, pg_temp.noise(-9, 16), k);
INSERT INTO items SELECT i, pg_temp.item(i, 16, 2) FROM generate_series(6001, 6300) i;
SELECT * FROM state;
SELECT recsys.index_recall('items_v', pg_temp.queries(50, 16), 10) > 0.95 AS right;
DELETE FROM items;
VACUUM items;
SELECT * FROM state;
INSERT INTO items SELECT i, pg_temp.item(i, 16, 2) FROM generate_series(1, 300) i;
SELECT * FROM state;
REINDEX INDEX items_v;
SELECT * FROM state;
DROP TABLE items;

-- rows of one length: the list keeps to its size
CREATE TABLE items (id int, v vector(16));
CREATE INDEX items_v ON items USING recsys_hnsw (v) WITH (ef_construction = 20);
CREATE TABLE sizes (batch int, nodes int, long_nodes int);
DO $$ BEGIN
	FOR batch IN 1 .. 11 LOOP
		INSERT INTO items SELECT i, pg_temp.sized(i, 16, 1) FROM generate_series(batch * 250 - 249, batch * 250) i;
		INSERT INTO sizes SELECT batch, s.nodes, s.long_nodes FROM recsys.index_stats('items_v') s;
	END LOOP;
END $$;
SELECT max(nodes) AS nodes, max(long_nodes / (16 * sqrt(nodes))) BETWEEN 1.5 AND 2.5 AS most, bool_or(shrinks) AS cut
FROM (SELECT *, long_nodes < lag(long_nodes) OVER (ORDER BY batch) AS shrinks FROM sizes) s;
SELECT recsys.check_index('items_v'), recsys.index_recall('items_v', pg_temp.queries(50, 16), 10) > 0.95 AS right;
DROP TABLE items, sizes;

-- an empty table that grows, of which nothing is logged, with a filter column
CREATE UNLOGGED TABLE items (id int, v vector(16), k int);
CREATE INDEX items_v ON items USING recsys_hnsw (v, k) WITH (ef_construction = 20);
SELECT * FROM state;
INSERT INTO items SELECT i, pg_temp.item(i, 16, 3), i % 4 FROM generate_series(1, 500) i;
SELECT * FROM state;
INSERT INTO items SELECT i, pg_temp.item(i, 16, 3), i % 4 FROM generate_series(501, 1500) i;
SELECT nodes, long_nodes BETWEEN 400 AND 1200 AS grown, check_index FROM state;
SELECT recsys.index_recall('items_v', pg_temp.queries(50, 16), 10) > 0.97 AS right;
VACUUM ANALYZE items;
SELECT k, condition, rows, ids, in_order, right_ids >= 0.9 * k AS right
FROM (VALUES (10, 'k < 2'), (10, 'k = 3'), (10, 'k < 3 AND id % 5 = 2'), (100, 'k > 0'), (300, 'k = 1')) c (k, condition),
	pg_temp.in_stages('items', condition, pg_temp.noise(-10, 16), k);
REINDEX INDEX items_v;
SELECT * FROM state;
DELETE FROM items WHERE id % 2 = 0;
VACUUM items;
SELECT nodes, long_nodes BETWEEN 250 AND 370 AS half, check_index FROM state;
DROP TABLE items;

-- a first row so short that no code can tell the lengths of the others
CREATE TABLE items (id int, v vector(16));
CREATE INDEX items_v ON items USING recsys_hnsw (v) WITH (ef_construction = 20);
INSERT INTO items SELECT 0, pg_temp.sized(0, 16, 1e-15);
INSERT INTO items SELECT i, pg_temp.item(i, 16, 2) * array_fill(1e8::real, ARRAY[16])::vector FROM generate_series(1, 2800) i;
SELECT nodes, long_nodes < 1500 AS cut, check_index FROM state;
DROP TABLE items;

-- many dimensions: codes of one bit, a block a page; the last dimensions are left out
CREATE FUNCTION pg_temp.wide(seed bigint, dim int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
	SELECT subvector(d || d || d || d || d || d || d || d || d || d, 1, dim)
	FROM (SELECT c || c || c || c FROM (SELECT pg_temp.item(seed, 64, 3) OFFSET 0) b (c) OFFSET 0) c (d) $$;
CREATE TABLE items AS SELECT i AS id, pg_temp.wide(i, 2496) AS v FROM generate_series(1, 1100) i;
CREATE INDEX items_1600 ON items USING recsys_hnsw ((subvector(v, 1, 1600)::vector(1600)));
CREATE INDEX items_2496 ON items USING recsys_hnsw (v);
INSERT INTO items SELECT i, pg_temp.wide(i, 2496) * array_fill(100, ARRAY[2496])::vector FROM generate_series(1101, 1120) i;
SELECT * FROM state;
SELECT index, recsys.index_recall(index, (SELECT array_agg(pg_temp.wide(-i, dim)) FROM generate_series(1, 20) i), 10) > 0.97 AS right
FROM (VALUES ('items_1600', 1600), ('items_2496', 2496)) i (index, dim);
DROP TABLE items;
