-- VACUUM of recsys_ivfpq: dead rows, empty pages, reuse of slots and pages
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
CREATE TEMP TABLE items AS SELECT i AS id, pg_temp.item(i) AS v FROM generate_series(1, 4000) i;
CREATE INDEX items_ip ON items USING recsys_ivfpq (v) WITH (lists = 8);
CREATE INDEX items_l2 ON items USING recsys_ivfpq (v vector_l2_ops) WITH (lists = 5, refine = float16);
CREATE INDEX items_cosine ON items USING recsys_ivfpq (v vector_cosine_ops)
	WITH (lists = 3, refine = none);
CREATE VIEW pg_temp.indexes AS SELECT indexrelid::regclass AS index FROM pg_index
	WHERE indrelid = 'items'::regclass;
-- how many rows a list has may depend on the machine, so pages are not shown
CREATE VIEW pg_temp.state AS
	SELECT index, rows, lists, empty_lists, list_pages > 0 AS list_pages, tape_pages > 0 AS tape_pages,
		free_pages > 0 AS free_pages, recsys.check_index(index)::text AS whole,
		recsys.index_recall(index, 50, 10) >= 0.9 AS recall
	FROM pg_temp.indexes, recsys.ivfpq_stats(index) ORDER BY 1;
CREATE TEMP TABLE sizes AS SELECT index, size_bytes AS size, list_pages, free_slots
	FROM pg_temp.indexes, recsys.ivfpq_stats(index);
SELECT * FROM state;

-- Half of the rows: their slots are free, no page is
DELETE FROM items WHERE hashint4(id) % 2 = 0;
SELECT 4000 - count(*) AS deleted FROM items \gset
VACUUM items;
SELECT * FROM state;
SELECT index, s.free_slots - sizes.free_slots = :deleted AS slots
FROM sizes, recsys.ivfpq_stats(index) s ORDER BY 1;
SELECT pg_temp.scan_faults('items', '<#>'), pg_temp.scan_faults('items', '<->'),
	pg_temp.scan_faults('items', '<=>');
SELECT relname, reltuples = (SELECT count(*) FROM items) AS reltuples
FROM pg_class WHERE relname LIKE 'items\_%' ORDER BY 1;

-- Nothing to do
VACUUM items;
SELECT index, rows = (SELECT count(*) FROM items) AS rows, whole FROM state;

-- The half again, in the slots of the first: not a list page more
INSERT INTO items SELECT i, pg_temp.item(i) FROM generate_series(1, 4000) i WHERE hashint4(i) % 2 = 0;
SELECT * FROM state;
SELECT index, s.list_pages = sizes.list_pages AS pages, s.free_slots = sizes.free_slots AS slots
FROM sizes, recsys.ivfpq_stats(index) s ORDER BY 1;
UPDATE sizes SET size = pg_relation_size(index);
SELECT pg_temp.scan_faults('items', '<#>'), pg_temp.scan_faults('items', '<->'),
	pg_temp.scan_faults('items', '<=>');

-- A handful of rows, then none, then all again: pages are freed and used again
DELETE FROM items WHERE id > 5;
VACUUM items;
SELECT index, rows, lists - empty_lists <= 5 AS lists, list_pages <= 5 AS list_pages,
	tape_pages <= 8 * list_pages AS tape_pages, free_pages > 0 AS free_pages, recsys.check_index(index)
FROM pg_temp.indexes, recsys.ivfpq_stats(index) ORDER BY 1;
SELECT pg_temp.scan_faults('items', '<#>'), pg_temp.scan_faults('items', '<->'),
	pg_temp.scan_faults('items', '<=>');
DELETE FROM items;
VACUUM items;
SELECT index, rows, lists = empty_lists AS empty, largest_list, list_pages, tape_pages,
	pages - free_pages BETWEEN 3 AND 10 AS others, free_slots, recsys.check_index(index)
FROM pg_temp.indexes, recsys.ivfpq_stats(index) ORDER BY 1;
SELECT pg_temp.scan_faults('items', '<#>');
INSERT INTO items SELECT i, pg_temp.item(i) FROM generate_series(1, 4000) i;
SELECT * FROM state;
SELECT index, s.list_pages = sizes.list_pages AS pages, size_bytes = size AS size
FROM sizes, recsys.ivfpq_stats(index) s ORDER BY 1;
SELECT pg_temp.scan_faults('items', '<#>'), pg_temp.scan_faults('items', '<->'),
	pg_temp.scan_faults('items', '<=>');

-- A little at a time, and all rows, ten times over: the index does not grow
\set ECHO none
\o /dev/null
SELECT format('DELETE FROM items WHERE id %% 10 = %s', r), 'VACUUM items',
	format('INSERT INTO items SELECT i, pg_temp.item(i) FROM generate_series(1, 4000) i WHERE i %% 10 = %s', r),
	'DELETE FROM items', 'VACUUM items',
	'INSERT INTO items SELECT i, pg_temp.item(i) FROM generate_series(1, 4000) i'
FROM generate_series(0, 9) r \gexec
\o
\set ECHO all
SELECT * FROM state;
SELECT index, s.list_pages = sizes.list_pages AS pages, size_bytes <= size * 1.1 AS size
FROM sizes, recsys.ivfpq_stats(index) s ORDER BY 1;

-- One list, of pages in the order in which its rows came: 416 rows a page, 113
-- a page of the tape
CREATE TEMP TABLE queue (id int, v vector(16));
CREATE INDEX queue_ip ON queue USING recsys_ivfpq (v);
VACUUM queue;
INSERT INTO queue SELECT i, pg_temp.item(i) FROM generate_series(1, 2080) i;
CREATE VIEW pg_temp.queue_state AS
	SELECT rows, list_pages, tape_pages, free_pages, free_slots, pages,
		recsys.check_index('queue_ip')::text AS whole, pg_temp.scan_faults('queue', '<#>') AS faults
	FROM recsys.ivfpq_stats('queue_ip');
SELECT * FROM queue_state;
-- two pages in the middle
DELETE FROM queue WHERE id BETWEEN 417 AND 1248;
VACUUM queue;
SELECT * FROM queue_state;
-- the oldest
DELETE FROM queue WHERE id <= 416;
VACUUM queue;
SELECT * FROM queue_state;
-- the newest, and half of the one before
DELETE FROM queue WHERE id > 1664 OR id BETWEEN 1300 AND 1507;
VACUUM queue;
SELECT * FROM queue_state;
-- rows go to free slots first, then to free pages
INSERT INTO queue SELECT i, pg_temp.item(i) FROM generate_series(1300, 1507) i;
SELECT * FROM queue_state;
INSERT INTO queue SELECT i, pg_temp.item(i) FROM generate_series(5001, 6664) i;
SELECT * FROM queue_state;
-- slots of an older page while the newest has none; all but one row of each page
DELETE FROM queue WHERE id BETWEEN 1249 AND 1348;
VACUUM queue;
INSERT INTO queue SELECT i, pg_temp.item(i) FROM generate_series(1249, 1348) i;
SELECT * FROM queue_state;
DELETE FROM queue WHERE id NOT IN (1500, 5100, 5500, 5900, 6400);
VACUUM queue;
SELECT * FROM queue_state;
INSERT INTO queue SELECT i, pg_temp.item(i) FROM generate_series(7001, 9075) i;
SELECT * FROM queue_state;
-- pages that come to be heads of the chain, and leave it, again and again
\set ECHO none
\o /dev/null
SELECT format('INSERT INTO queue SELECT i, pg_temp.item(i) FROM generate_series(%s, %s) i', r, r + 600),
	format('DELETE FROM queue WHERE id < %s OR id > %s', r - 100, r + 500), 'VACUUM queue'
FROM generate_series(10000, 20000, 500) r \gexec
\o
\set ECHO all
SELECT * FROM queue_state;

-- Rows that are not in the index are not counted
CREATE TEMP TABLE part AS SELECT i AS id, CASE WHEN i % 4 > 0 THEN pg_temp.item(i) END AS v
	FROM generate_series(1, 400) i;
CREATE INDEX part_v ON part USING recsys_ivfpq (v);
CREATE INDEX part_few ON part USING recsys_ivfpq (v) WHERE id <= 100;
VACUUM part;
SELECT relname, reltuples FROM pg_class WHERE relname LIKE 'part\_%' ORDER BY 1;
DELETE FROM part WHERE id % 4 = 1;
VACUUM part;
SELECT relname, reltuples FROM pg_class WHERE relname LIKE 'part\_%' ORDER BY 1;
ANALYZE part;
VACUUM (INDEX_CLEANUP off) part;
SELECT recsys.check_index('part_v'), recsys.check_index('part_few');
