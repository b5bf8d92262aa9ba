-- @am@: kinds of tables, rebuilds, memory and workers of a build
SET client_min_messages = warning;
SET jit = off;

CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;

-- All rows by the index are all rows of the table, and of the ten best of
-- some queries nine in ten are found.
CREATE FUNCTION pg_temp.check_table(tab text, VARIADIC ops text[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	op text; q vector; by_index text[]; exact text[]; line text; plan text;
	found int; of_all int; nrows int; query text; result text := '';
BEGIN
	FOREACH op IN ARRAY ops LOOP
		found := 0; of_all := 0;
		SET LOCAL enable_seqscan = off;
		SET LOCAL enable_indexscan = on;
		SET LOCAL enable_sort = off;
		query := format('SELECT id FROM %s ORDER BY v %s (SELECT v FROM %1$s LIMIT 1) LIMIT 1000000', tab, op);
		plan := '';
		FOR line IN EXECUTE 'EXPLAIN ' || query LOOP plan := plan || line; END LOOP;
		IF plan !~ 'Order By' THEN RAISE 'unexpected plan: %', plan; END IF;
		EXECUTE format('SELECT array_agg(id) FROM (%s) s', query) INTO by_index;
		EXECUTE format('SELECT array_agg(id) FROM %s WHERE v IS NOT NULL', tab) INTO exact;
		IF (SELECT array_agg(i ORDER BY i) FROM unnest(by_index) i) IS DISTINCT FROM (SELECT array_agg(i ORDER BY i) FROM unnest(exact) i) THEN
			RETURN format('%s: %s rows by index, the table has %s', op, cardinality(by_index), cardinality(exact));
		END IF;
		nrows := coalesce(cardinality(exact), 0);
		FOR q IN EXECUTE format('SELECT v FROM %s WHERE v IS NOT NULL ORDER BY id LIMIT 20', tab) LOOP
			query := format('SELECT array_agg(id) FROM (SELECT id FROM %s ORDER BY v %s %L LIMIT 10) s', tab, op, q);
			EXECUTE query INTO by_index;
			SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_sort = on;
			EXECUTE query INTO exact;
			SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = on; SET LOCAL enable_sort = off;
			found := found + (SELECT count(*) FROM unnest(by_index) i WHERE i = ANY (exact));
			of_all := of_all + coalesce(cardinality(exact), 0);
		END LOOP;
		result := result || CASE WHEN found >= 0.9 * of_all THEN op || ' good, ' ELSE format('%s finds %s of %s, ', op, found, of_all) END;
	END LOOP;
	RETURN result || nrows || ' rows';
END $$;

CREATE TABLE source (id int, v vector(16));
INSERT INTO source SELECT i, CASE WHEN i % 100 > 0 THEN pg_temp.noise(i, 16) END FROM generate_series(1, 1500) i;

-- unlogged
CREATE UNLOGGED TABLE items (id int PRIMARY KEY, v vector(16), note text);
CREATE INDEX items_v ON items USING @am@ (v);
CREATE INDEX items_l2 ON items USING @am@ (v vector_l2_ops);
SELECT relname, relpersistence, pg_relation_size(oid, 'init') > 0 AS init_fork FROM pg_class WHERE relname IN ('items_v', 'items_l2') ORDER BY 1;
INSERT INTO items SELECT * FROM source;
SELECT pg_temp.check_table('items', '<#>', '<->');
-- to logged and back
ALTER TABLE items SET LOGGED;
SELECT pg_temp.check_table('items', '<#>', '<->');
INSERT INTO items SELECT 2000 + i, pg_temp.noise(2000 + i, 16) FROM generate_series(1, 50) i;
ALTER TABLE items SET UNLOGGED;
SELECT pg_temp.check_table('items', '<#>', '<->');
ALTER TABLE items SET LOGGED;

-- rewrites
DELETE FROM items WHERE id % 3 = 0;
VACUUM FULL items;
SELECT pg_temp.check_table('items', '<#>', '<->');
CLUSTER items USING items_pkey;
SELECT pg_temp.check_table('items', '<#>', '<->');
ALTER TABLE items ADD COLUMN more int DEFAULT 7;
ALTER TABLE items ADD COLUMN stamp text DEFAULT random()::text;
SELECT pg_temp.check_table('items', '<#>', '<->');
ALTER TABLE items DROP COLUMN note;
INSERT INTO items SELECT 3000 + i, pg_temp.noise(3000 + i, 16) FROM generate_series(1, 50) i;
SELECT pg_temp.check_table('items', '<#>', '<->');
ALTER TABLE items ALTER COLUMN id TYPE bigint;
SELECT pg_temp.check_table('items', '<#>', '<->');
ALTER TABLE items ALTER COLUMN v TYPE vector USING v;
SELECT pg_temp.check_table('items', '<#>', '<->');
ALTER TABLE items ALTER COLUMN v TYPE vector(8) USING subvector(v, 1, 8);
SELECT pg_temp.check_table('items', '<#>', '<->');
INSERT INTO items VALUES (-1, '[1,2,3]');
REINDEX INDEX items_v;
SELECT pg_temp.check_table('items', '<#>', '<->');
REINDEX TABLE items;
SELECT pg_temp.check_table('items', '<#>', '<->');
REINDEX INDEX CONCURRENTLY items_v;
REINDEX TABLE CONCURRENTLY items;
SELECT pg_temp.check_table('items', '<#>', '<->');
CREATE INDEX CONCURRENTLY items_cosine ON items USING @am@ (v vector_cosine_ops);
SELECT pg_temp.check_table('items', '<#>', '<->', '<=>');
SELECT relname, indisvalid, indisready FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = 'items'::regclass ORDER BY 1;
-- a build that fails leaves nothing that is used
CREATE TABLE odd (v vector);
INSERT INTO odd VALUES ('[1]'), ('[1,2]');
CREATE INDEX CONCURRENTLY odd_v ON odd USING @am@ (v);
SELECT indisvalid FROM pg_index WHERE indexrelid = 'odd_v'::regclass;
DROP TABLE odd;
DROP INDEX CONCURRENTLY items_cosine;
TRUNCATE items;
SELECT pg_temp.check_table('items', '<#>', '<->');
INSERT INTO items SELECT id, subvector(v, 1, 8) FROM source;
SELECT pg_temp.check_table('items', '<#>', '<->');
BEGIN;
TRUNCATE items;
INSERT INTO items SELECT id, subvector(v, 1, 8) FROM source WHERE id < 50;
SELECT pg_temp.check_table('items', '<#>');
ROLLBACK;
SELECT pg_temp.check_table('items', '<#>', '<->');
-- made and filled in one transaction, and undone
BEGIN;
CREATE TABLE fresh (id int, v vector(16));
CREATE INDEX ON fresh USING @am@ (v);
INSERT INTO fresh SELECT * FROM source;
SELECT pg_temp.check_table('fresh', '<#>');
COMMIT;
BEGIN;
DROP INDEX fresh_v_idx;
CREATE INDEX ON fresh USING @am@ (v vector_l2_ops);
ROLLBACK;
SELECT pg_temp.check_table('fresh', '<#>');

-- reltuples is the number of rows in the index
CREATE INDEX fresh_part ON fresh USING @am@ (v vector_l2_ops) WHERE id <= 200;
VACUUM ANALYZE fresh;
SELECT relname, reltuples FROM pg_class WHERE relname LIKE 'fresh%' ORDER BY 1;

-- temporary tables
CREATE TEMP TABLE passing (id int, v vector(16));
CREATE INDEX ON passing USING @am@ (v);
INSERT INTO passing SELECT * FROM source WHERE id <= 700;
CREATE INDEX ON passing USING @am@ (v vector_l2_ops);
INSERT INTO passing SELECT * FROM source WHERE id > 700;
SELECT pg_temp.check_table('passing', '<#>', '<->');
DELETE FROM passing WHERE id % 2 = 0;
VACUUM passing;
SELECT pg_temp.check_table('passing', '<#>', '<->');
REINDEX TABLE passing;
SELECT pg_temp.check_table('passing', '<#>', '<->');
CREATE TEMP TABLE moment (id int, v vector(16)) ON COMMIT DELETE ROWS;
CREATE INDEX ON moment USING @am@ (v);
BEGIN;
INSERT INTO moment SELECT * FROM source;
SELECT pg_temp.check_table('moment', '<#>');
COMMIT;
SELECT pg_temp.check_table('moment', '<#>');
BEGIN;
INSERT INTO moment SELECT id, v FROM source WHERE id > 1400;
SELECT pg_temp.check_table('moment', '<#>');
ROLLBACK;
BEGIN;
CREATE TEMP TABLE gone (id int, v vector(16)) ON COMMIT DROP;
INSERT INTO gone SELECT * FROM source;
CREATE INDEX ON gone USING @am@ (v vector_cosine_ops);
SELECT pg_temp.check_table('gone', '<=>');
COMMIT;

-- a materialised view
CREATE MATERIALIZED VIEW shown AS SELECT * FROM source WHERE v IS NOT NULL;
CREATE INDEX ON shown USING @am@ (v);
CREATE UNIQUE INDEX ON shown (id);
SELECT pg_temp.check_table('shown', '<#>');
DELETE FROM source WHERE id <= 100;
REFRESH MATERIALIZED VIEW shown;
SELECT pg_temp.check_table('shown', '<#>');
INSERT INTO source SELECT i, pg_temp.noise(i, 16) FROM generate_series(1, 100) i;
REFRESH MATERIALIZED VIEW CONCURRENTLY shown;
SELECT pg_temp.check_table('shown', '<#>');
DROP MATERIALIZED VIEW shown;

-- a build within maintenance_work_mem, and one beyond it
DROP TABLE fresh;
CREATE TABLE large (id int, v vector(64));
INSERT INTO large SELECT i, pg_temp.noise(i, 64) FROM generate_series(1, 3400) i;
SET max_parallel_maintenance_workers = 0;
SET maintenance_work_mem = '64MB';
CREATE INDEX large_v ON large USING @am@ (v);
SET maintenance_work_mem = '1MB';
CREATE INDEX large_l2 ON large USING @am@ (v vector_l2_ops);
SELECT pg_temp.check_table('large', '<#>', '<->');
DROP INDEX large_v, large_l2;
-- with workers
SET maintenance_work_mem = '64MB';
SET max_parallel_maintenance_workers = 2;
SET min_parallel_table_scan_size = 0;
ALTER TABLE large SET (parallel_workers = 2);
CREATE INDEX large_v ON large USING @am@ (v);
CREATE INDEX large_l2 ON large USING @am@ (v vector_l2_ops);
CREATE INDEX large_cosine ON large USING @am@ (v vector_cosine_ops) WHERE id % 2 = 0;
SELECT pg_temp.check_table('large', '<#>', '<->');
SET enable_seqscan = off;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM large WHERE id % 2 = 0 ORDER BY v <=> (SELECT v FROM large WHERE id = 1) LIMIT 5000) s;
RESET enable_seqscan;
SET maintenance_work_mem = '1MB';
REINDEX TABLE large;
SELECT pg_temp.check_table('large', '<#>', '<->');
RESET maintenance_work_mem;
RESET max_parallel_maintenance_workers;
RESET min_parallel_table_scan_size;
SELECT reltuples FROM pg_class WHERE relname IN ('large_v', 'large_l2', 'large_cosine') ORDER BY relname;
-- an error, and a cancel, in the middle of a parallel build
SET max_parallel_maintenance_workers = 2;
SET min_parallel_table_scan_size = 0;
CREATE FUNCTION part_of(v vector, n int) RETURNS vector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
	IF n = 3333 THEN RAISE 'row % is bad', n; END IF;
	RETURN v;
END $$;
\set VERBOSITY terse
CREATE INDEX ON large USING @am@ ((part_of(v, id)::vector(64)));
\set VERBOSITY default
-- the cancel comes from within, since by the clock a build may be done before
CREATE FUNCTION cancels(v vector, n int) RETURNS vector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
	IF n = 3333 THEN PERFORM pg_cancel_backend(current_setting('storage.leader')::int); END IF;
	RETURN v;
END $$;
DO $$
BEGIN
	PERFORM set_config('storage.leader', pg_backend_pid()::text, false);
@hnsw@	CREATE INDEX large_slow ON large USING @am@ ((cancels(v, id)::vector(64))) WITH (ef_construction = 1000);
@ivfpq@	CREATE INDEX large_slow ON large USING @am@ ((cancels(v, id)::vector(64))) WITH (lists = 60000);
	RAISE 'was not cancelled';
EXCEPTION WHEN query_canceled THEN
	RAISE WARNING 'cancelled';
END $$;
RESET max_parallel_maintenance_workers;
RESET min_parallel_table_scan_size;
SELECT pg_temp.check_table('large', '<#>', '<->');

-- the extension takes its indexes along
DROP TABLE items, source, passing, moment, large;
DROP FUNCTION part_of, cancels;
CREATE SCHEMA apart;
CREATE TABLE last_one (id int);
ALTER TABLE last_one ADD v vector(3);
INSERT INTO last_one VALUES (1, '[1,2,3]');
CREATE INDEX last_one_v ON last_one USING @am@ (v);
DROP ACCESS METHOD @am@;
DISCARD TEMP;
\set VERBOSITY terse
DROP EXTENSION recsys;
DROP EXTENSION recsys CASCADE;
\set VERBOSITY default
SELECT count(*) FROM pg_class WHERE relname = 'last_one_v';
SELECT * FROM last_one;
DROP TABLE last_one;
-- in a schema that is not in the search path
CREATE EXTENSION recsys SCHEMA apart;
CREATE TABLE items (id int, v apart.vector(3));
CREATE INDEX ON items USING @am@ (v);
CREATE INDEX ON items USING @am@ (v apart.vector_l2_ops);
INSERT INTO items SELECT i, ARRAY[i % 7, i % 11, i % 13]::apart.vector FROM generate_series(1, 100) i;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v OPERATOR(apart.<#>) '[1,1,1]' LIMIT 3;
SELECT id FROM items ORDER BY v OPERATOR(apart.<#>) '[1,2,5]' LIMIT 3;
DROP TABLE items;
DROP EXTENSION recsys;
DROP SCHEMA apart;
CREATE EXTENSION recsys;
