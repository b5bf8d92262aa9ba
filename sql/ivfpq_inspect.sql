-- Looking in at recsys_ivfpq: ivfpq_stats, check_index
\set VERBOSITY terse
CREATE FUNCTION pg_temp.item(i int) RETURNS vector LANGUAGE sql AS
	$$ SELECT array_agg((sin(i * (j + 0.37)) * (1 + i % 7))::real ORDER BY j)::vector
	   FROM generate_series(1, 8) j $$;
CREATE TABLE inspect (id int, kind int, v vector(8));
INSERT INTO inspect SELECT i, i % 3, pg_temp.item(i) FROM generate_series(1, 700) i;
-- vectors that many rows share, zero vectors, rows without a vector
INSERT INTO inspect SELECT i, 0, pg_temp.item(7) FROM generate_series(701, 1200) i;
INSERT INTO inspect SELECT i, 1, '[0,0,0,0,0,0,0,0]' FROM generate_series(1201, 1210) i;
INSERT INTO inspect VALUES (1211, 1, NULL), (1212, 2, NULL);

CREATE INDEX inspect_ip ON inspect USING recsys_ivfpq (v) WITH (lists = 4);
CREATE INDEX inspect_l2 ON inspect USING recsys_ivfpq (v vector_l2_ops)
	WITH (lists = 4, refine = float16);
CREATE INDEX inspect_cosine ON inspect USING recsys_ivfpq (v vector_cosine_ops)
	WITH (lists = 4, refine = none, subquantizers = 32);
CREATE INDEX inspect_partial ON inspect USING recsys_ivfpq (v) WHERE kind = 1;
CREATE INDEX inspect_expression ON inspect
	USING recsys_ivfpq ((subvector(v, 1, 4)) vector_l2_ops) WITH (sample = 300);
CREATE VIEW indexes AS SELECT indexrelid::regclass AS index FROM pg_index
	WHERE indrelid = 'inspect'::regclass;

SELECT index, metric, dimensions, rows, lists, lists > empty_lists AS used, largest_list <= rows AS largest,
	trained, sample, subquantizers, rotation, refine, bytes_per_row
FROM indexes, recsys.ivfpq_stats(index) ORDER BY 1;
SELECT index, largest_list * (lists - empty_lists) >= rows AS largest,
	list_pages >= lists - empty_lists AS list_pages, tape_pages > 0 AS tape_pages, free_pages,
	(rows + free_slots) % list_pages = 0 AS slots, radius > 0 AS radius,
	pages - list_pages - tape_pages BETWEEN 3 AND 5 AS others,
	size_bytes = pg_relation_size(index) AS size,
	pages * current_setting('block_size')::int = size_bytes AS pages
FROM indexes, recsys.ivfpq_stats(index) ORDER BY 1;
SELECT index, recsys.check_index(index) FROM indexes ORDER BY 1;

-- After updates and deletes
DELETE FROM inspect WHERE id % 5 = 0;
UPDATE inspect SET v = pg_temp.item(id + 1000) WHERE id % 5 = 1;
UPDATE inspect SET kind = 1 WHERE id % 5 = 2;
SELECT index, recsys.check_index(index) FROM indexes ORDER BY 1;

-- Rows of an open transaction, and of one that is rolled back
BEGIN;
INSERT INTO inspect VALUES (2000, 1, pg_temp.item(2000));
SELECT recsys.check_index('inspect_ip');
ROLLBACK;
SELECT recsys.check_index('inspect_ip');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT recsys.check_index('inspect_ip');
COMMIT;

-- No rows at all, untrained, unlogged, temporary
CREATE UNLOGGED TABLE inspect_empty (v vector(3));
CREATE INDEX inspect_empty_v ON inspect_empty USING recsys_ivfpq (v vector_cosine_ops);
SELECT * FROM recsys.ivfpq_stats('inspect_empty_v') \gx
SELECT recsys.check_index('inspect_empty_v');
INSERT INTO inspect_empty VALUES ('[1,2,3]'), (NULL), ('[2,3,4]'), ('[0,0,0]');
SELECT * FROM recsys.ivfpq_stats('inspect_empty_v') \gx
SELECT recsys.check_index('inspect_empty_v');
CREATE TEMP TABLE inspect_temp AS SELECT * FROM inspect;
CREATE INDEX inspect_temp_v ON inspect_temp USING recsys_ivfpq (v vector_l2_ops);
SELECT rows = (SELECT count(v) FROM inspect) AS rows, recsys.check_index('inspect_temp_v')
FROM recsys.ivfpq_stats('inspect_temp_v');
-- rows of many lengths, whose factors are far from each other
CREATE TABLE inspect_lengths AS SELECT i AS id,
	(SELECT array_agg(x * 1e5 ^ (i % 7 - 3))::vector FROM unnest(pg_temp.item(i)::real[]) x) AS v
	FROM generate_series(1, 500) i;
CREATE INDEX inspect_lengths_ip ON inspect_lengths USING recsys_ivfpq (v) WITH (lists = 3);
CREATE INDEX inspect_lengths_l2 ON inspect_lengths USING recsys_ivfpq (v vector_l2_ops) WITH (lists = 3, refine = none);
INSERT INTO inspect_lengths SELECT id + 1000, v FROM inspect_lengths;
SELECT recsys.check_index('inspect_lengths_ip'), recsys.check_index('inspect_lengths_l2');

-- An index that lacks rows
CREATE TABLE inspect_lacks (id int, v vector(2));
CREATE INDEX inspect_lacks_v ON inspect_lacks USING recsys_ivfpq (v);
INSERT INTO inspect_lacks SELECT i, ARRAY[i, 1]::vector FROM generate_series(1, 100) i;
UPDATE pg_index SET indisready = false WHERE indexrelid = 'inspect_lacks_v'::regclass;
INSERT INTO inspect_lacks SELECT i, ARRAY[i, 1]::vector FROM generate_series(101, 110) i;
UPDATE pg_index SET indisready = true WHERE indexrelid = 'inspect_lacks_v'::regclass;
SELECT recsys.check_index('inspect_lacks_v');
DELETE FROM inspect_lacks WHERE id > 100;
SELECT recsys.check_index('inspect_lacks_v');

-- One that holds other vectors, and other rows, than it should: what its
-- expression and its predicate call has changed
CREATE FUNCTION inspect_f(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql
	SET search_path = public AS 'BEGIN RETURN v; END';
CREATE FUNCTION inspect_p(id int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql
	SET search_path = public AS 'BEGIN RETURN id = 1; END';
CREATE TABLE inspect_stale (id int, v vector(2));
INSERT INTO inspect_stale VALUES (1, '[1,2]'), (2, '[3,4]');
CREATE INDEX inspect_stale_v ON inspect_stale USING recsys_ivfpq (inspect_f(v));
CREATE INDEX inspect_stale_codes ON inspect_stale USING recsys_ivfpq (inspect_f(v)) WITH (refine = none);
CREATE INDEX inspect_stale_p ON inspect_stale USING recsys_ivfpq (v) WHERE inspect_p(id);
-- where a row lies is of no matter here
CREATE FUNCTION inspect_fault(index regclass) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM recsys.check_index(index);
	RETURN 'whole';
EXCEPTION WHEN index_corrupted THEN
	RETURN regexp_replace(sqlerrm, 'block \d+ slot \d+', 'block B slot S', 'g');
END $$;
CREATE VIEW inspect_faults AS SELECT index, inspect_fault(index::regclass)
	FROM (VALUES ('inspect_stale_v'), ('inspect_stale_codes'), ('inspect_stale_p')) v (index);
SELECT * FROM inspect_faults;
CREATE OR REPLACE FUNCTION inspect_f(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql
	SET search_path = public AS 'BEGIN RETURN CASE WHEN v = ''[3,4]'' THEN ''[3,4.05]'' ELSE v END; END';
SELECT * FROM inspect_faults;
CREATE OR REPLACE FUNCTION inspect_f(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql
	SET search_path = public AS 'BEGIN RETURN CASE WHEN v = ''[3,4]'' THEN ''[4,3]'' ELSE v END; END';
SELECT * FROM inspect_faults;
CREATE OR REPLACE FUNCTION inspect_f(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql
	SET search_path = public AS 'BEGIN RETURN subvector(v, 1, 1); END';
CREATE OR REPLACE FUNCTION inspect_p(id int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql
	SET search_path = public AS 'BEGIN RETURN true; END';
SELECT * FROM inspect_faults;

-- What cannot be looked at
CREATE INDEX inspect_hnsw ON inspect USING recsys_hnsw (v);
CREATE INDEX inspect_id ON inspect (id);
SELECT recsys.ivfpq_stats('inspect');
SELECT recsys.ivfpq_stats('inspect_id');
SELECT recsys.check_index('inspect_id');
\set VERBOSITY default
SELECT recsys.ivfpq_stats('inspect_hnsw');
SELECT recsys.index_stats('inspect_ip');
\set VERBOSITY terse
SELECT recsys.ivfpq_stats(4294967295::oid::regclass);
SELECT recsys.ivfpq_stats(NULL);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'inspect_l2'::regclass;
SELECT recsys.check_index('inspect_l2');
SELECT recsys.ivfpq_stats('inspect_l2');
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'inspect_l2'::regclass;
CREATE TABLE inspect_parts (v vector(2)) PARTITION BY LIST (v);
CREATE INDEX inspect_parts_v ON inspect_parts USING recsys_ivfpq (v);
SELECT recsys.ivfpq_stats('inspect_parts_v');

-- Rights: who may read the table, or watches the server, may count; the owner
-- alone may check
CREATE ROLE regress_inspect_reader;
CREATE ROLE regress_inspect_watcher;
CREATE ROLE regress_inspect_other;
GRANT pg_stat_scan_tables TO regress_inspect_watcher;
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
		('stats', 'SELECT recsys.ivfpq_stats(''inspect_ip'')'),
		('check', 'SELECT recsys.check_index(''inspect_ip'')')) v (name, query);
GRANT SELECT ON attempts TO PUBLIC;
SET ROLE regress_inspect_reader;
SELECT * FROM attempts;
SET ROLE regress_inspect_watcher;
SELECT * FROM attempts;
SET ROLE regress_inspect_other;
SELECT * FROM attempts;
RESET ROLE;

DROP VIEW attempts, indexes, inspect_faults;
DROP FUNCTION try;
DROP TABLE inspect, inspect_empty, inspect_lengths, inspect_lacks, inspect_stale, inspect_parts;
DROP FUNCTION inspect_fault, inspect_f, inspect_p;
DROP ROLE regress_inspect_reader, regress_inspect_watcher, regress_inspect_other;
