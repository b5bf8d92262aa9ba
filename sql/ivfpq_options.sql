-- recsys_ivfpq: options of an index, what a build tells, unusual data
SET client_min_messages = warning;
SET jit = off;

CREATE FUNCTION pg_temp.noise(seed bigint, dim int) RETURNS vector
LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(seed, i) & 65535) / 32768.0 - 1)::real
					 ORDER BY i)::vector
	FROM generate_series(1, dim) i $$;

-- SQLSTATE, message and hint of what a statement raises
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE,
		message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
		hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' / ', state, message, nullif(detail, ''),
					 nullif(hint, ''));
END $$;

-- rows that a whole scan by each operator finds, and whether the first are the
-- nearest; zero vectors have no cosine and come last
CREATE FUNCTION pg_temp.look(query vector, OUT op text, OUT rows bigint, OUT ordered boolean)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
	found float8[]; truth float8[]; ids int[];
BEGIN
	FOREACH op IN ARRAY '{<#>,<->,<=>}'::text[] LOOP
		SET LOCAL enable_seqscan = off;
		EXECUTE format('SELECT array_agg(v OPERATOR(public.%1$s) $1), array_agg(id)
			FROM (SELECT id, v FROM odd ORDER BY v OPERATOR(public.%1$s) $1) s', op) INTO found, ids USING query;
		rows := (SELECT count(DISTINCT i) FROM unnest(ids) i);
		SET LOCAL enable_seqscan = on;
		SET LOCAL enable_indexscan = off;
		EXECUTE format('SELECT array_agg(v OPERATOR(public.%1$s) $1)
			FROM (SELECT id, v FROM odd WHERE v IS NOT NULL ORDER BY v OPERATOR(public.%1$s) $1) s', op) INTO truth USING query;
		RESET enable_indexscan;
		ordered := found[:5] = truth[:5];
		RETURN NEXT;
	END LOOP;
END $$;

-- options
CREATE TABLE options (id int, v vector(3));
INSERT INTO options SELECT i, pg_temp.noise(i, 3) FROM generate_series(1, 500) i;
SELECT value, pg_temp.error_of(format('CREATE INDEX ON options USING recsys_ivfpq (v) WITH (%s)', value))
FROM unnest('{lists = -1,lists = 65537,lists = many,subquantizers = 3,subquantizers = 481,sample = -1,
	refine = sq4,rotation = fixed,probes = 3}'::text[]) value;
CREATE INDEX options_v ON options USING recsys_ivfpq (v)
	WITH (lists = 7, subquantizers = 32, sample = 300, refine = float16);
SELECT lists, trained, sample, subquantizers, rotation, refine, rows FROM recsys.ivfpq_stats('options_v');
-- they count at REINDEX
ALTER INDEX options_v SET (lists = 3, refine = none);
SELECT lists, refine FROM recsys.ivfpq_stats('options_v');
ALTER INDEX options_v RESET (sample, subquantizers);
REINDEX INDEX options_v;
SELECT lists, trained, sample, subquantizers, rotation, refine, rows FROM recsys.ivfpq_stats('options_v');
SELECT recsys.check_index('options_v');
SELECT pg_temp.error_of('ALTER INDEX options_v SET (lists = 65537)');
SELECT pg_temp.error_of('CREATE UNIQUE INDEX ON options USING recsys_ivfpq (v)');
SELECT pg_temp.error_of('CREATE INDEX ON options USING recsys_ivfpq (id)');

-- what can never be indexed is refused at once
CREATE TABLE wide (v vector(4033));
SELECT pg_temp.error_of('CREATE INDEX ON wide USING recsys_ivfpq (v)');
CREATE TABLE mixed (v vector);
INSERT INTO mixed VALUES ('[1,2]'), (NULL), ('[1,2,3]');
SELECT pg_temp.error_of('CREATE INDEX ON mixed USING recsys_ivfpq (v)');
DROP TABLE wide, mixed;

-- an index that cannot be trained says so
SET client_min_messages = notice;
TRUNCATE options;
SELECT trained, lists FROM recsys.ivfpq_stats('options_v');
INSERT INTO options SELECT i, pg_temp.noise(i, 3) FROM generate_series(1, 500) i;
SELECT trained, lists FROM recsys.ivfpq_stats('options_v');
REINDEX INDEX options_v;
SELECT trained, lists FROM recsys.ivfpq_stats('options_v');
SELECT recsys.check_index('options_v');
CREATE TABLE nothing (v vector);
INSERT INTO nothing VALUES (NULL), (NULL);
CREATE INDEX ON nothing USING recsys_ivfpq (v);
SELECT reltuples FROM pg_class WHERE relname = 'nothing';
CREATE UNLOGGED TABLE fleeting (v vector(3));
CREATE INDEX ON fleeting USING recsys_ivfpq (v);
DROP TABLE nothing, fleeting;

-- so does one whose sample memory cannot hold
CREATE TABLE many (id int, v vector(3));
INSERT INTO many SELECT i, pg_temp.noise(i, 3) FROM generate_series(1, 3000) i;
SET maintenance_work_mem = '1MB';
CREATE INDEX many_v ON many USING recsys_ivfpq (v) WITH (lists = 1000);
SELECT lists, sample, rows FROM recsys.ivfpq_stats('many_v');
RESET maintenance_work_mem;
REINDEX INDEX many_v;
SELECT lists, sample, rows FROM recsys.ivfpq_stats('many_v');
-- and one with fewer lists than asked for
CREATE TABLE few (v vector(3));
INSERT INTO few SELECT pg_temp.noise(i % 100, 3) FROM generate_series(1, 3000) i;
CREATE INDEX few_v ON few USING recsys_ivfpq (v) WITH (lists = 1000);
SELECT lists, sample, rows FROM recsys.ivfpq_stats('few_v');
SELECT recsys.check_index('few_v');
DROP TABLE many, few;

-- only what the predicate lets in is sampled and counted
CREATE TABLE part (id int, v vector(3));
INSERT INTO part SELECT i, CASE WHEN i % 1000 = 0 THEN pg_temp.noise(i, 3) END FROM generate_series(1, 100000) i;
CREATE INDEX part_v ON part USING recsys_ivfpq (v) WITH (lists = 10) WHERE id > 50000;
SELECT lists, rows, sample FROM recsys.ivfpq_stats('part_v');
DROP TABLE part;

-- unusual data
CREATE TABLE odd (id int, v vector(4));
INSERT INTO odd SELECT i, '[1,2,3,4]' FROM generate_series(1, 1000) i;
CREATE INDEX odd_ip ON odd USING recsys_ivfpq (v);
CREATE INDEX odd_l2 ON odd USING recsys_ivfpq (v vector_l2_ops);
CREATE INDEX odd_cosine ON odd USING recsys_ivfpq (v vector_cosine_ops);
ANALYZE odd;
-- all equal
SELECT * FROM pg_temp.look('[1,0,0,0]');
-- and later another
INSERT INTO odd VALUES (0, '[-1,2,3,4]'), (1001, '[4,3,2,1]');
SELECT * FROM pg_temp.look('[1,0,0,0]');
-- all zero, and two that are not
UPDATE odd SET v = '[0,0,0,0]' WHERE id BETWEEN 1 AND 1000;
REINDEX TABLE odd;
SELECT * FROM pg_temp.look('[1,0,0,0]');
-- one dimension constant, and NULLs
UPDATE odd SET v = CASE WHEN id % 3 > 0 THEN ('[7,' || id || ',' || id % 10 || ',1]')::vector END;
REINDEX TABLE odd;
SELECT * FROM pg_temp.look('[0,1,0,0]');
-- of very different sizes
UPDATE odd SET v = ARRAY[10.0 ^ (id % 30 - 15), 1, id, 0]::vector;
REINDEX TABLE odd;
SELECT * FROM pg_temp.look('[1,0,0,0]');
-- too long
INSERT INTO odd VALUES (2000, '[1e19,0,0,0]');
-- a handful of rows
DELETE FROM odd WHERE id > 3;
VACUUM odd;
REINDEX TABLE odd;
SELECT * FROM pg_temp.look('[0,1,0,0]');
SELECT recsys.check_index(i) FROM unnest('{odd_ip,odd_l2,odd_cosine}'::regclass[]) i;
DROP TABLE odd, options;

-- a session keeps the model of an index: after a rebuild it is another one
CREATE TABLE kept (id int, v vector(32));
INSERT INTO kept SELECT i, pg_temp.noise(i, 32) * pg_temp.noise(0, 32) FROM generate_series(1, 3000) i;
CREATE INDEX kept_l2 ON kept USING recsys_ivfpq (v vector_l2_ops) WITH (rotation = learned);
CREATE INDEX kept_ip ON kept USING recsys_ivfpq (v);
INSERT INTO kept SELECT i, pg_temp.noise(i, 32) * pg_temp.noise(0, 32) FROM generate_series(3001, 3010) i;
SELECT recsys.check_index(i) FROM unnest('{kept_l2,kept_ip}'::regclass[]) i;
UPDATE kept SET v = pg_temp.noise(id, 32) * pg_temp.noise(-1, 32) + pg_temp.noise(-2, 32);
REINDEX TABLE kept;
INSERT INTO kept SELECT i, pg_temp.noise(i, 32) * pg_temp.noise(-1, 32) FROM generate_series(3011, 3020) i;
SELECT recsys.check_index(i) FROM unnest('{kept_l2,kept_ip}'::regclass[]) i;
-- also where the rebuild is undone
BEGIN;
TRUNCATE kept;
INSERT INTO kept VALUES (1, pg_temp.noise(1, 32));
SELECT recsys.check_index(i) FROM unnest('{kept_l2,kept_ip}'::regclass[]) i;
ROLLBACK;
INSERT INTO kept SELECT i, pg_temp.noise(i, 32) * pg_temp.noise(-1, 32) FROM generate_series(3021, 3030) i;
SELECT recsys.check_index(i) FROM unnest('{kept_l2,kept_ip}'::regclass[]) i;
DROP TABLE kept;
-- or made in place, in the transaction that has made the table
BEGIN;
CREATE TABLE kept (id int, v vector(32));
INSERT INTO kept SELECT i, pg_temp.noise(i, 32) FROM generate_series(1, 3000) i;
CREATE INDEX kept_ip ON kept USING recsys_ivfpq (v);
INSERT INTO kept VALUES (0, pg_temp.noise(0, 32));
TRUNCATE kept;
INSERT INTO kept SELECT i, pg_temp.noise(i, 32) FROM generate_series(1, 20) i;
SELECT recsys.check_index('kept_ip');
COMMIT;
DROP TABLE kept;
