-- Looking in: index_stats, index_recall, check_index
\set VERBOSITY terse
CREATE FUNCTION pg_temp.item(i int) RETURNS vector LANGUAGE sql AS
	$$ SELECT array_agg((sin(i * (j + 0.37)) * (1 + i % 7))::real ORDER BY j)::vector
	   FROM generate_series(1, 8) j $$;
CREATE TABLE inspect (id int, kind int, v vector(8));
INSERT INTO inspect SELECT i, i % 3, pg_temp.item(i) FROM generate_series(1, 300) i;
-- vectors that many rows share, a zero vector, rows without a vector
INSERT INTO inspect SELECT i, 0, pg_temp.item(7) FROM generate_series(301, 500) i;
INSERT INTO inspect VALUES (501, 1, '[0,0,0,0,0,0,0,0]'), (502, 1, NULL), (503, 2, NULL);

CREATE INDEX inspect_ip ON inspect USING recsys_hnsw (v);
CREATE INDEX inspect_l2 ON inspect USING recsys_hnsw (v vector_l2_ops);
CREATE INDEX inspect_cosine ON inspect USING recsys_hnsw (v vector_cosine_ops);
CREATE INDEX inspect_partial ON inspect USING recsys_hnsw (v) WHERE kind = 1;
CREATE INDEX inspect_expression ON inspect
	USING recsys_hnsw ((subvector(v, 1, 4)) vector_l2_ops);
CREATE VIEW indexes AS SELECT indexrelid::regclass AS index FROM pg_index
	WHERE indrelid = 'inspect'::regclass;

-- 301 different vectors; 200 more rows of one of them do not fit in its node
SELECT index, metric, dimensions, rows, nodes, levels, entries > 0 AS entries,
	tombstones, postings > 0 AS postings
FROM indexes, recsys.index_stats(index) ORDER BY 1;
SELECT index, unreachable, no_incoming, average_degree BETWEEN 10 AND 32 AS degree,
	radius > 0 AS radius, bytes_per_node,
	bytes_per_node * (nodes + tombstones + postings + free_slots) < size_bytes AS slots_fit,
	size_bytes = pg_relation_size(index) AS size,
	pages * current_setting('block_size')::int = size_bytes AS pages
FROM indexes, recsys.index_stats(index) ORDER BY 1;

SELECT index, recsys.index_recall(index) AS recall,
	recsys.index_recall(index, 50, 20) AS recall_50,
	recsys.index_recall(index, 1, 1) AS recall_1,
	recsys.index_recall(index, 10000, 3) AS recall_all
FROM indexes ORDER BY 1;
SELECT recsys.index_recall('inspect_ip', ARRAY[pg_temp.item(1000), pg_temp.item(1001)], 20);
SELECT recsys.index_recall('inspect_cosine', ARRAY['[0,0,0,0,0,0,0,0]'::vector], 20);
SELECT index, recsys.check_index(index) FROM indexes ORDER BY 1;

-- After updates and deletes
DELETE FROM inspect WHERE id % 5 = 0;
UPDATE inspect SET v = pg_temp.item(id + 1000) WHERE id % 5 = 1;
UPDATE inspect SET kind = 1 WHERE id % 5 = 2;
SELECT index, recsys.index_recall(index), recsys.check_index(index) FROM indexes ORDER BY 1;

-- Rows of an open transaction, and of one that is rolled back
BEGIN;
INSERT INTO inspect VALUES (600, 1, pg_temp.item(600));
SELECT recsys.check_index('inspect_ip');
ROLLBACK;
SELECT recsys.check_index('inspect_ip');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT recsys.check_index('inspect_ip'), recsys.index_recall('inspect_ip');
COMMIT;

-- No rows at all, unlogged, temporary
CREATE UNLOGGED TABLE inspect_empty (v vector(3));
CREATE INDEX inspect_empty_v ON inspect_empty USING recsys_hnsw (v);
SELECT metric, dimensions, rows, nodes, levels, entries, tombstones, free_slots, postings,
	bytes_per_node, average_degree, unreachable, no_incoming, radius, pages
FROM recsys.index_stats('inspect_empty_v');
SELECT recsys.index_recall('inspect_empty_v'), recsys.check_index('inspect_empty_v'),
	recsys.index_recall('inspect_empty_v', ARRAY['[1,2,3]'::vector], 5),
	recsys.index_recall('inspect_ip', '{}'::vector[], 5) AS no_queries;
INSERT INTO inspect_empty VALUES ('[1,2,3]'), (NULL), ('[2,3,4]');
SELECT recsys.index_recall('inspect_empty_v'), recsys.check_index('inspect_empty_v');
CREATE TEMP TABLE inspect_temp AS SELECT * FROM inspect;
CREATE INDEX inspect_temp_v ON inspect_temp USING recsys_hnsw (v vector_l2_ops);
SELECT rows, recsys.index_recall('inspect_temp_v'), recsys.check_index('inspect_temp_v')
FROM recsys.index_stats('inspect_temp_v');

-- Recall knows no access method
CREATE TABLE inspect_point (p point);
INSERT INTO inspect_point SELECT point(i % 17, i % 23) FROM generate_series(1, 500) i;
CREATE INDEX inspect_gist ON inspect_point USING gist (p);
SELECT recsys.index_recall('inspect_gist', 30);
SELECT recsys.index_recall('inspect_gist', ARRAY['[1,2]'::vector], 3);

-- An index that lacks rows: the 10 best of 110
CREATE TABLE inspect_lacks (id int, v vector(2));
CREATE INDEX inspect_lacks_v ON inspect_lacks USING recsys_hnsw (v);
INSERT INTO inspect_lacks SELECT i, ARRAY[i, 1]::vector FROM generate_series(1, 100) i;
UPDATE pg_index SET indisready = false WHERE indexrelid = 'inspect_lacks_v'::regclass;
INSERT INTO inspect_lacks SELECT i, ARRAY[i, 1]::vector FROM generate_series(101, 110) i;
UPDATE pg_index SET indisready = true WHERE indexrelid = 'inspect_lacks_v'::regclass;
SELECT k, recsys.index_recall('inspect_lacks_v', ARRAY['[1,0]', '[-1,0]']::vector[], k),
	recsys.index_recall('inspect_lacks_v', ARRAY['[1,0]']::vector[], k) AS lacking,
	recsys.index_recall('inspect_lacks_v', ARRAY['[-1,0]']::vector[], k) AS whole
FROM unnest(ARRAY[1, 10, 20, 40, 1000]) k;
-- a row that comes to be the nearest counts if it is as near
SELECT recsys.index_recall('inspect_lacks_v', ARRAY['[0,1]']::vector[], 10) AS ties;
-- the same whether all queries fit in memory at once or one
SELECT recsys.index_recall('inspect_lacks_v', 10000, 30) AS at_once \gset
SET work_mem = '64kB';
SELECT recsys.index_recall('inspect_lacks_v', 10000, 30) = :at_once AS one_by_one,
	:at_once < 0.92 AS lacking;
RESET work_mem;
SELECT recsys.check_index('inspect_lacks_v');
DELETE FROM inspect_lacks WHERE id > 100;
SELECT recsys.check_index('inspect_lacks_v');

-- One that holds other vectors, and other rows, than it should: what its
-- expression and its predicate call has changed
CREATE FUNCTION inspect_f(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql
	SET search_path = public AS 'BEGIN RETURN v; END';
CREATE FUNCTION inspect_p(id int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql
	SET search_path = public AS 'BEGIN RETURN true; END';
-- where a row's node lies is of no matter here
CREATE FUNCTION inspect_fault(index regclass) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM recsys.check_index(index);
	RETURN 'whole';
EXCEPTION WHEN index_corrupted THEN
	RETURN regexp_replace(sqlerrm, 'block \d+ slot \d+', 'block B slot S', 'g');
END $$;
CREATE TABLE inspect_stale (id int, v vector(2));
INSERT INTO inspect_stale VALUES (1, '[1,2]'), (2, '[3,4]');
CREATE INDEX inspect_stale_v ON inspect_stale USING recsys_hnsw (inspect_f(v))
	WHERE inspect_p(id);
SELECT inspect_fault('inspect_stale_v');
CREATE OR REPLACE FUNCTION inspect_f(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql
	SET search_path = public AS 'BEGIN RETURN CASE WHEN v = ''[3,4]'' THEN ''[3,4.001]'' ELSE v END; END';
SELECT inspect_fault('inspect_stale_v');
CREATE OR REPLACE FUNCTION inspect_f(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql
	SET search_path = public AS 'BEGIN RETURN subvector(v, 1, 1); END';
SELECT inspect_fault('inspect_stale_v');
CREATE OR REPLACE FUNCTION inspect_f(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql
	SET search_path = public AS 'BEGIN RETURN v; END';
CREATE OR REPLACE FUNCTION inspect_p(id int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql
	SET search_path = public AS 'BEGIN RETURN id = 1; END';
SELECT inspect_fault('inspect_stale_v');
SELECT recsys.index_recall('inspect_stale_v');

-- What cannot be looked at
SELECT recsys.index_stats('inspect');
SELECT recsys.check_index('inspect_gist');
SELECT recsys.index_stats('inspect_gist');
CREATE INDEX inspect_id ON inspect (id);
SELECT recsys.index_recall('inspect_id');
SELECT recsys.check_index('inspect_id');
SELECT recsys.check_index(4294967295::oid::regclass);
SELECT recsys.check_index(NULL), recsys.index_recall('inspect_ip', NULL::int);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'inspect_l2'::regclass;
SELECT recsys.check_index('inspect_l2');
SELECT recsys.index_stats('inspect_l2');
SELECT recsys.index_recall('inspect_l2');
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'inspect_l2'::regclass;
CREATE TABLE inspect_parts (v vector(2)) PARTITION BY LIST (v);
CREATE INDEX inspect_parts_v ON inspect_parts USING recsys_hnsw (v);
SELECT recsys.check_index('inspect_parts_v');
SELECT recsys.index_recall('inspect_ip', 0);
SELECT recsys.index_recall('inspect_ip', 10001);
SELECT recsys.index_recall('inspect_ip', 10, 0);
SELECT recsys.index_recall('inspect_ip', ARRAY[pg_temp.item(1)], -1);
SELECT recsys.index_recall('inspect_ip', ARRAY[pg_temp.item(1), NULL], 5);
SELECT recsys.index_recall('inspect_ip', ARRAY['[1,2]']::vector[], 5);

-- Rights.  The owner may do all, who may read the table may measure it, who
-- watches the server may count; nobody else learns anything.
CREATE ROLE regress_inspect_owner;
CREATE ROLE regress_inspect_reader;
CREATE ROLE regress_inspect_watcher;
CREATE ROLE regress_inspect_other;
GRANT pg_stat_scan_tables TO regress_inspect_watcher;
ALTER TABLE inspect OWNER TO regress_inspect_owner;
GRANT SELECT ON inspect TO regress_inspect_reader;
GRANT SELECT (v) ON inspect TO regress_inspect_other;
CREATE FUNCTION try(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE query;
	RETURN 'allowed';
EXCEPTION WHEN insufficient_privilege THEN
	RETURN sqlerrm;
END $$;
CREATE VIEW attempts WITH (security_invoker) AS
	SELECT current_user, name, try(query) FROM (VALUES
		('stats', 'SELECT recsys.index_stats(''inspect_ip'')'),
		('recall', 'SELECT recsys.index_recall(''inspect_ip'')'),
		('check', 'SELECT recsys.check_index(''inspect_ip'')')) v (name, query);
GRANT SELECT ON attempts TO PUBLIC;
SET ROLE regress_inspect_owner;
SELECT * FROM attempts;
SET ROLE regress_inspect_reader;
SELECT * FROM attempts;
SET ROLE regress_inspect_watcher;
SELECT * FROM attempts;
SET ROLE regress_inspect_other;
SELECT * FROM attempts;
RESET ROLE;
-- rows that a policy hides are not measured
ALTER TABLE inspect ENABLE ROW LEVEL SECURITY;
SET ROLE regress_inspect_reader;
SELECT * FROM attempts;
SET ROLE regress_inspect_owner;
SELECT * FROM attempts;
RESET ROLE;
-- what the owner put into an index runs as the owner, whoever looks in; a
-- check keeps writers out, a measurement does not
GRANT CREATE ON SCHEMA public TO regress_inspect_owner;
SET ROLE regress_inspect_owner;
CREATE TABLE inspect_trap (v vector(2));
INSERT INTO inspect_trap VALUES ('[1,2]');
CREATE FUNCTION trap(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'trap runs as % under %', current_user,
		(SELECT string_agg(mode, ', ' ORDER BY mode) FROM pg_locks
		 WHERE relation = 'public.inspect_trap'::regclass AND pid = pg_backend_pid());
	RETURN v;
END $$;
CREATE INDEX inspect_trap_v ON inspect_trap USING recsys_hnsw (trap(v));
RESET ROLE;
SELECT recsys.check_index('inspect_trap_v');
SELECT recsys.index_recall('inspect_trap_v', ARRAY['[1,2]']::vector[], 1), current_user = session_user AS back;

DROP VIEW attempts, indexes;
DROP FUNCTION try;
DROP TABLE inspect, inspect_empty, inspect_point, inspect_lacks, inspect_stale,
	inspect_parts, inspect_trap;
DROP FUNCTION trap, inspect_fault, inspect_f, inspect_p;
REVOKE CREATE ON SCHEMA public FROM regress_inspect_owner;
DROP ROLE regress_inspect_owner, regress_inspect_reader,
	regress_inspect_watcher, regress_inspect_other;
