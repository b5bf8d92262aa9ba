-- VACUUM of recsys_hnsw: dead rows, repair of the graph, reuse of slots
\set VERBOSITY terse
-- Numbers in [-1, 1) that are the same everywhere, and vectors of them whose
-- lengths differ
CREATE FUNCTION pg_temp.noise(i int, j int) RETURNS real LANGUAGE sql IMMUTABLE AS
	$$ SELECT (hashint8extended(i, j) % 1000000 / 1000000.0)::real $$;
CREATE FUNCTION pg_temp.item(i int) RETURNS vector LANGUAGE sql IMMUTABLE AS
	$$ SELECT array_agg((pg_temp.noise(i, j) * exp(pg_temp.noise(i, 100)))::real ORDER BY j)::vector
	   FROM generate_series(1, 16) j $$;
-- Rows that a scan of the index misses, has too many, or returns twice
CREATE FUNCTION pg_temp.scan_faults(tab regclass, op text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE faults bigint;
BEGIN
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_sort = off;
	EXECUTE format($q$
		WITH scanned AS MATERIALIZED (
			SELECT id AS tid FROM %1$s ORDER BY v %2$s pg_temp.item(0)
			LIMIT 1000000),
		stored AS MATERIALIZED (
			SELECT id AS tid FROM %1$s WHERE v IS NOT NULL AND id >= 0)
		SELECT count(*) FROM
		((TABLE scanned EXCEPT ALL TABLE stored) UNION ALL
		 (TABLE stored EXCEPT ALL TABLE scanned)) difference $q$, tab, op)
	INTO faults;
	RETURN faults;
END $$;

-- Temporary tables: no other transaction keeps their dead rows
CREATE TEMP TABLE items AS SELECT i AS id, pg_temp.item(i) AS v FROM generate_series(1, 2000) i;
CREATE INDEX items_ip ON items USING recsys_hnsw (v);
CREATE INDEX items_l2 ON items USING recsys_hnsw (v vector_l2_ops);
CREATE INDEX items_cosine ON items USING recsys_hnsw (v vector_cosine_ops);
CREATE VIEW pg_temp.indexes AS SELECT indexrelid::regclass AS index FROM pg_index
	WHERE indrelid = 'items'::regclass;
CREATE VIEW pg_temp.state AS
	SELECT index, rows, nodes, tombstones, free_slots / 100 * 100 AS free_slots, postings,
		unreachable, entries > 0 AS entries, recsys.check_index(index)::text AS whole,
		recsys.index_recall(index, 50, 10) >= 0.97 AS recall_10,
		recsys.index_recall(index, 50, 50) >= 0.97 AS recall_50
	FROM pg_temp.indexes, recsys.index_stats(index) ORDER BY 1;
SELECT * FROM state;

-- Half of the rows
DELETE FROM items WHERE hashint4(id) % 2 = 0;
VACUUM items;
SELECT count(*) FROM items;
SELECT * FROM state;
SELECT pg_temp.scan_faults('items', '<#>'), pg_temp.scan_faults('items', '<->');
SELECT relname, reltuples FROM pg_class WHERE relname LIKE 'items\_%' ORDER BY 1;

-- Nothing to do
VACUUM items;
SELECT index, tombstones, rows FROM state;

-- The half again, in the slots of the first
CREATE TEMP TABLE sizes AS SELECT index, pg_relation_size(index) AS size FROM pg_temp.indexes;
INSERT INTO items SELECT i, pg_temp.item(i) FROM generate_series(1, 2000) i WHERE hashint4(i) % 2 = 0;
SELECT * FROM state;
SELECT index, pg_relation_size(index) <= size * 1.02 AS reused FROM sizes ORDER BY 1;

-- A little at a time: repair leaves some edges open, inserts fill them
DO $$ BEGIN
	FOR r IN 0..9 LOOP
		EXECUTE format('CREATE TEMP TABLE chunk_%s AS SELECT * FROM items WHERE id %% 10 = %s', r, r);
	END LOOP;
END $$;
\set ECHO none
\o /dev/null
SELECT format('DELETE FROM items WHERE id %% 10 = %s', r), 'VACUUM items',
	format('INSERT INTO items TABLE chunk_%s', r)
FROM generate_series(0, 9) r \gexec
\o
\set ECHO all
SELECT * FROM state;

-- Entry points: the longest rows, and so the champions of most directions
DELETE FROM items WHERE vector_norm(v) > (SELECT percentile_cont(0.6)
	WITHIN GROUP (ORDER BY vector_norm(v)) FROM items);
VACUUM items;
SELECT * FROM state;
SELECT index, radius < 3 AS radius FROM pg_temp.indexes, recsys.index_stats(index) ORDER BY 1;

-- A handful of rows, then none, then all again
DELETE FROM items WHERE id > 10;
VACUUM items;
SELECT index, entries BETWEEN 1 AND 3 * nodes AS entries, nodes = (SELECT count(*) FROM items) AS nodes,
	tombstones, recsys.check_index(index), recsys.index_recall(index, 10, 3) AS recall
FROM pg_temp.indexes, recsys.index_stats(index) ORDER BY 1;
DELETE FROM items;
VACUUM items;
SELECT index, rows, nodes, tombstones, entries, recsys.check_index(index)
FROM pg_temp.indexes, recsys.index_stats(index) ORDER BY 1;
SELECT pg_temp.scan_faults('items', '<#>');
INSERT INTO items SELECT i, pg_temp.item(i) FROM generate_series(1, 2000) i;
SELECT * FROM state;
SELECT pg_temp.scan_faults('items', '<#>'), pg_temp.scan_faults('items', '<=>');

-- All rows, ten times over: the index does not grow
DROP INDEX items_l2, items_cosine;
TRUNCATE sizes;
\set ECHO none
\o /dev/null
SELECT 'DELETE FROM items', 'VACUUM items',
	'INSERT INTO items SELECT i, pg_temp.item(i) FROM generate_series(1, 2000) i',
	'INSERT INTO sizes SELECT ''items_ip'', pg_relation_size(''items_ip'')'
FROM generate_series(1, 10) \gexec
\o
\set ECHO all
SELECT count(*), max(size) <= min(size) * 1.1 AS steady FROM sizes;
SELECT * FROM state;

-- Rows far from all others, with the rows between them gone: they stay in reach
CREATE TEMP TABLE isles AS SELECT i AS id, pg_temp.item(i) AS v FROM generate_series(1, 1000) i;
INSERT INTO isles
	SELECT 10000 + i, (SELECT array_agg(20 + x / 100 ORDER BY o)
		FROM unnest(pg_temp.item(i)::real[]) WITH ORDINALITY u (x, o))::vector
	FROM generate_series(1, 1000) i;
CREATE INDEX isles_l2 ON isles USING recsys_hnsw (v vector_l2_ops);
DELETE FROM isles WHERE id > 10040;
VACUUM isles;
SELECT rows = (SELECT count(*) FROM isles) AS rows, tombstones, unreachable,
	recsys.check_index('isles_l2') FROM recsys.index_stats('isles_l2');

-- Many rows of one vector: postings
CREATE TEMP TABLE same (id int, v vector(16));
CREATE INDEX same_ip ON same USING recsys_hnsw (v);
CREATE VIEW pg_temp.same_state AS
	SELECT (SELECT count(*) FROM same) AS in_table, rows, nodes, postings, tombstones,
		recsys.check_index('same_ip')::text AS whole, pg_temp.scan_faults('same', '<#>') AS faults
	FROM recsys.index_stats('same_ip');
VACUUM same;
INSERT INTO same SELECT i, pg_temp.item(i % 3) FROM generate_series(1, 3000) i;
SELECT * FROM same_state;
-- some rows of each
DELETE FROM same WHERE id % 7 < 3;
VACUUM same;
SELECT rows = in_table AS rows, nodes, postings > 3 AS postings, tombstones, whole, faults FROM same_state;
-- postings in the middle of chains
DELETE FROM same WHERE id BETWEEN 700 AND 2300;
VACUUM same;
SELECT rows = in_table AS rows, nodes, postings BETWEEN 3 AND 15 AS postings, tombstones, whole, faults FROM same_state;
-- all rows of one vector, and all but one of another
DELETE FROM same WHERE id % 3 = 1 OR (id % 3 = 2 AND id > 2);
DELETE FROM same WHERE id % 3 = 0 AND id < 2500;
INSERT INTO same VALUES (2, pg_temp.item(2));
VACUUM same;
SELECT rows = in_table AS rows, nodes, tombstones, whole, faults FROM same_state;
INSERT INTO same SELECT i, pg_temp.item(i % 3) FROM generate_series(1, 3000) i;
SELECT rows = in_table AS rows, nodes, postings > 12 AS postings, tombstones, whole, faults FROM same_state;
DELETE FROM same;
VACUUM same;
SELECT * FROM same_state;

-- Rows that are not in the index are not counted
CREATE TEMP TABLE part AS SELECT i AS id, CASE WHEN i % 4 > 0 THEN pg_temp.item(i) END AS v
	FROM generate_series(1, 400) i;
CREATE INDEX part_v ON part USING recsys_hnsw (v);
CREATE INDEX part_few ON part USING recsys_hnsw (v) WHERE id <= 100;
VACUUM part;
SELECT relname, reltuples FROM pg_class WHERE relname LIKE 'part\_%' ORDER BY 1;
DELETE FROM part WHERE id % 4 = 1;
VACUUM part;
SELECT relname, reltuples FROM pg_class WHERE relname LIKE 'part\_%' ORDER BY 1;
ANALYZE part;
VACUUM (INDEX_CLEANUP off) part;
SELECT recsys.check_index('part_v'), recsys.check_index('part_few');
